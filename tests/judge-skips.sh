#!/usr/bin/env bash
# Reads what `dotnet test` printed: every skipped test must be on the list, and what was printed must add up. Ends with one line of counts.
#     judge-skips.sh LOG
set -euo pipefail
list="$(dirname "$0")/skips.txt"
log=$1

count() { grep -E "^ +$1: [0-9]+ *$" "$log" | tail -1 | tr -dc 0-9; }
passed=$(count succeeded) failed=$(count failed) skipped=$(count skipped)
if [ -z "$passed" ] || [ "$passed" = 0 ]; then
    echo "No test passed, or there is no summary: nothing was tested." >&2
    exit 1
fi

patterns=()
while IFS= read -r line; do
    # A pattern ends at two spaces; what follows says why.
    [[ $line == '' || $line == '#'* ]] || patterns+=("${line%%  *}")
done <"$list"

status=0 seen=0
while IFS= read -r name; do
    seen=$((seen + 1))
    allowed=
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # the right side is a pattern
        if [[ $name == $pattern ]]; then allowed=1; break; fi
    done
    if [ -z "$allowed" ]; then
        echo "Skipped, and not on the list (tests/skips.txt): $name" >&2
        status=1
    fi
done < <(sed -nE 's/^skipped (.*)$/\1/p' "$log" | sed -E 's/ \([0-9.]+(m?s|m [0-9]+s)[^)]*\)$//')

if [ "$seen" != "${skipped:-0}" ]; then
    echo "$skipped tests were skipped, but $seen of them were named." >&2
    status=1
fi

echo "Tests: $passed passed, ${failed:-0} failed, ${skipped:-0} skipped"
exit "$status"
