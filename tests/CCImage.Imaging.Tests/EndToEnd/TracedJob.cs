using System.Globalization;
using System.Text;

namespace CCImage.Tests.EndToEnd;

/// <summary>What a call asks of the host.</summary>
internal enum HostCallKind
{
    Create,
    Read,
    Write,
    SetLength,
    Punch,
    Flush,
    Rename,
    Delete,
}

/// <summary>A call that succeeded.</summary>
/// <param name="Kind">What it asks.</param>
/// <param name="Path">Of which file or folder.</param>
/// <param name="Offset">Where, of calls that have a place.</param>
/// <param name="Length">How many bytes; of <see cref="HostCallKind.SetLength"/> the length.</param>
internal sealed record HostCall(HostCallKind Kind, string Path, long Offset = 0, long Length = 0)
{
    /// <summary>What is written.</summary>
    public byte[] Bytes { get; init; } = [];

    /// <summary>The new name.</summary>
    public string? Target { get; init; }
}

/// <summary>A job in a process of its own, with everything it asks of the host for one image: as strace sees it, from outside.</summary>
internal static class TracedJob
{
    private static readonly string[] s_calls =
    [
        "open", "openat", "creat", "pread64", "pwrite64", "read", "write", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2",
        "ftruncate", "truncate", "fallocate", "fsync", "fdatasync",
        "rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat", "copy_file_range", "sendfile", "mkdir", "mkdirat",
        "rmdir",
    ];

    /// <summary>Runs a job to its end.</summary>
    /// <param name="image">The image; calls for anything outside of it are left out.</param>
    /// <param name="log">A path for strace's record.</param>
    /// <param name="job">Name and arguments, as the program of the benchmarks takes them.</param>
    /// <returns>The calls, in order.</returns>
    public static List<HostCall> Run(string image, string log, params string[] job)
    {
        string[] strace =
            ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "67108864", "-o", log, "-e", $"trace={string.Join(',', s_calls)}"];
        (int exitCode, string output, string error) =
            Oracle.Run("strace", [.. strace, "dotnet", "exec", KillTests.Program, "--job", .. job]);
        Assert.True(exitCode == 0, output + error);
        var calls = new List<HostCall>();
        var unfinished = new Dictionary<string, string>();
        foreach (string line in File.ReadLines(log))
        {
            string thread = line[..line.IndexOf(' ', StringComparison.Ordinal)], text = line[thread.Length..].TrimStart();
            if (text.EndsWith(" <unfinished ...>", StringComparison.Ordinal))
            {
                unfinished[thread] = text[..^" <unfinished ...>".Length];
                continue;
            }

            if (text.StartsWith("<... ", StringComparison.Ordinal))
                text = unfinished[thread] + text[(text.IndexOf(" resumed>", StringComparison.Ordinal) + " resumed>".Length)..];
            if (Parse(text, image) is { } call) calls.Add(call);
        }

        File.Delete(log);
        return calls;
    }

    // name(argument, argument) = result; all text is hexadecimal, so that there is no comma in it.
    private static HostCall? Parse(string line, string image)
    {
        int open = line.IndexOf('(', StringComparison.Ordinal), close = line.LastIndexOf(") = ", StringComparison.Ordinal);
        if (open < 0 || close < 0 || line[close + 4] is '-' or '?') return null;
        string name = line[..open];
        string[] arguments = line[(open + 1)..close].Split(", ");
        string path = name.EndsWith("at", StringComparison.Ordinal) && name != "creat" || name == "renameat2"
            ? Path.Combine(PathOf(arguments[0]), PathOf(arguments[1])) : PathOf(arguments[0]);
        if (path != image && !path.StartsWith(image + "/", StringComparison.Ordinal)
            && !path.StartsWith(image + ".", StringComparison.Ordinal)) return null;
        return name switch
        {
            "open" or "openat" => line.Contains("O_CREAT", StringComparison.Ordinal) ? new(HostCallKind.Create, path) : null,
            "pread64" =>
                new(HostCallKind.Read, path, Number(3), long.Parse(line[(close + 4)..].Split(' ')[0], CultureInfo.InvariantCulture)),
            "read" => new(HostCallKind.Read, path, 0, long.Parse(line[(close + 4)..].Split(' ')[0], CultureInfo.InvariantCulture)),
            "pwrite64" => new(HostCallKind.Write, path, Number(3), Number(2)) { Bytes = BytesOf(arguments[1]) },
            "ftruncate" => new(HostCallKind.SetLength, path, 0, Number(1)),
            "fallocate" when arguments[1].Contains("PUNCH_HOLE", StringComparison.Ordinal) =>
                new(HostCallKind.Punch, path, Number(2), Number(3)),
            "fsync" or "fdatasync" => new(HostCallKind.Flush, path),
            "rename" => new(HostCallKind.Rename, path) { Target = PathOf(arguments[1]) },
            "renameat" => new(HostCallKind.Rename, path) { Target = Path.Combine(PathOf(arguments[2]), PathOf(arguments[3])) },
            "unlink" or "unlinkat" => new(HostCallKind.Delete, path),
            _ => throw new NotSupportedException($"The job calls {name} of {path}."),
        };

        long Number(int index) => long.Parse(arguments[index], CultureInfo.InvariantCulture);
    }

    // A descriptor with its path, 5</a/b>, or a path.
    private static string PathOf(string argument)
    {
        int begin = argument.IndexOfAny(['<', '"']) + 1, end = argument.LastIndexOfAny(['>', '"']);
        return begin == 0 || end < begin ? "" : Encoding.UTF8.GetString(Unescape(argument[begin..end]));
    }

    private static byte[] BytesOf(string argument)
    {
        Assert.EndsWith("\"", argument, StringComparison.Ordinal); // or strace has shortened it
        return Unescape(argument[1..^1]);
    }

    private static byte[] Unescape(string text) => Convert.FromHexString(text.Replace("\\x", "", StringComparison.Ordinal));
}
