namespace CCImage.Tests.EndToEnd;

/// <summary>
/// The states in which a loss of power could leave an image's files, whatever the moment. Of a file, what is written is certain once the
/// file is flushed; of a name that comes, goes or changes, once its folder is flushed. Of everything else any part may be lost.
/// </summary>
internal sealed class CrashStates
{
    private readonly List<byte[]> _contents = []; // by the file's number: what is durable
    private readonly Dictionary<string, int> _names = []; // what is durable
    private readonly Dictionary<string, int> _current = []; // what a process sees
    private readonly List<Change> _pending = [];
    private readonly Dictionary<string, byte[]> _written = []; // what stands in the folder of Materialise

    /// <summary>Begins with what the image is.</summary>
    /// <param name="image">File or bundle.</param>
    public CrashStates(string image)
    {
        foreach (string path in Directory.Exists(image) ? Directory.GetFiles(image, "*", SearchOption.AllDirectories) : [image])
        {
            _names[path] = _current[path] = _contents.Count;
            _contents.Add(File.ReadAllBytes(path));
        }
    }

    /// <summary>A change that is not flushed yet: of a file's content, or of names.</summary>
    private sealed record Change(HostCall Call, int File, string? Folder);

    /// <summary>
    /// After every change: with all that was done so far; with some of what was not flushed lost; with the first of that lost; with only
    /// this one of that kept; with this one torn.
    /// </summary>
    /// <param name="calls">What a job did.</param>
    /// <param name="seed">Of what is lost.</param>
    /// <returns>Name of the state; the files; whether nothing was lost.</returns>
    public IEnumerable<(string Name, Dictionary<string, byte[]> Files, bool IsPrefix)> Of(IEnumerable<HostCall> calls, int seed)
    {
        var random = new Random(seed);
        int number = 0;
        foreach (HostCall call in calls)
        {
            number++;
            if (call.Kind == HostCallKind.Read) continue;
            if (call.Kind == HostCallKind.Flush)
            {
                Flush(call.Path);
                continue;
            }

            if (call.Kind == HostCallKind.Create && _current.ContainsKey(call.Path)) continue;
            Add(call);
            string what = $"call {number}, {call.Kind} {Path.GetFileName(call.Path)} {call.Offset}+{call.Length}";
            yield return (what, After(_pending), true);
            if (_pending.Count > 1)
            {
                yield return ($"{what}, some lost", After(_pending.Where(_ => random.Next(2) == 0)), false);
                yield return ($"{what}, the first lost", After(_pending.Skip(1)), false);
                yield return ($"{what}, the others lost", After([_pending[^1]]), false);
            }

            if (call.Kind != HostCallKind.Write || call.Length <= 512) continue;
            Change torn =
                _pending[^1] with { Call =
                    call with { Bytes = call.Bytes[..(int)(random.Next(1, (int)call.Length / 512 + 1) * 512 % call.Length)] } };
            yield return ($"{what}, torn", After(_pending.SkipLast(1).Append(torn)), false);
        }
    }

    /// <summary>Makes a state stand on the host's disk, in place of the one before.</summary>
    /// <param name="files">The state.</param>
    public void Materialise(Dictionary<string, byte[]> files)
    {
        foreach (string gone in _written.Keys.Where(p => !files.ContainsKey(p)).ToArray())
        {
            File.Delete(gone);
            _written.Remove(gone);
        }

        foreach ((string path, byte[] bytes) in files)
        {
            byte[] there = _written.GetValueOrDefault(path, []);
            if (!_written.TryAdd(path, bytes) && ReferenceEquals(there, bytes)) continue;
            WriteDifference(path, there, bytes);
            _written[path] = bytes;
        }
    }

    /// <summary>Somebody else has changed what stands there.</summary>
    /// <param name="image">File or bundle; removed.</param>
    public void Forget(string image)
    {
        foreach (string path in Directory.Exists(image) ? Directory.GetFiles(image, "*", SearchOption.AllDirectories) : [image])
            File.Delete(path);
        _written.Clear();
    }

    private void Add(HostCall call)
    {
        string folder = Path.GetDirectoryName(call.Path)!;
        switch (call.Kind)
        {
            case HostCallKind.Create:
                _current[call.Path] = _contents.Count;
                _contents.Add([]);
                _pending.Add(new(call, _current[call.Path], folder));
                break;
            case HostCallKind.Rename:
                Assert.Equal(folder, Path.GetDirectoryName(call.Target));
                _current.Remove(call.Path, out int file);
                _current[call.Target!] = file;
                _pending.Add(new(call, file, folder));
                break;
            case HostCallKind.Delete:
                _current.Remove(call.Path, out int deleted);
                _pending.Add(new(call, deleted, folder));
                break;
            default:
                _pending.Add(new(call, _current[call.Path], null));
                break;
        }
    }

    private void Flush(string path)
    {
        bool IsCovered(Change change) =>
            _current.TryGetValue(path, out int file) ? change.Folder is null && change.File == file : change.Folder == path;
        var touched = new HashSet<int>();
        foreach (Change change in _pending.Where(IsCovered)) Apply(change, _names, _contents, touched);
        _pending.RemoveAll(IsCovered);
    }

    private Dictionary<string, byte[]> After(IEnumerable<Change> changes)
    {
        var names = new Dictionary<string, int>(_names);
        var contents = new List<byte[]>(_contents);
        var touched = new HashSet<int>();
        foreach (Change change in changes) Apply(change, names, contents, touched);
        return names.ToDictionary(n => n.Key, n => contents[n.Value]);
    }

    private static void Apply(Change change, Dictionary<string, int> names, List<byte[]> contents, HashSet<int> touched)
    {
        HostCall call = change.Call;
        switch (call.Kind)
        {
            case HostCallKind.Create:
                names[call.Path] = change.File;
                return;
            case HostCallKind.Delete:
                names.Remove(call.Path);
                return;
            case HostCallKind.Rename:
                names.Remove(call.Path);
                names[call.Target!] = change.File;
                return;
        }

        // States before this one keep theirs.
        byte[] bytes = touched.Add(change.File) ? [.. contents[change.File]] : contents[change.File];
        if (call.Kind == HostCallKind.SetLength) Array.Resize(ref bytes, (int)call.Length);
        if (call.Kind == HostCallKind.Punch) bytes.AsSpan((int)call.Offset, (int)Math.Min(call.Length, bytes.Length - call.Offset)).Clear();
        if (call.Kind == HostCallKind.Write)
        {
            if (call.Offset + call.Bytes.Length > bytes.Length) Array.Resize(ref bytes, (int)call.Offset + call.Bytes.Length);
            call.Bytes.CopyTo(bytes, call.Offset);
        }

        contents[change.File] = bytes;
    }

    private static void WriteDifference(string path, ReadOnlySpan<byte> there, ReadOnlySpan<byte> bytes)
    {
        using var stream = new FileStream(path, FileMode.OpenOrCreate);
        stream.SetLength(bytes.Length);
        for (int at = 0; at < bytes.Length; at += 1 << 16)
        {
            int length = Math.Min(bytes.Length - at, 1 << 16), same = Math.Clamp(there.Length - at, 0, length);
            ReadOnlySpan<byte> part = bytes.Slice(at, length);
            if (part[..same].SequenceEqual(there[Math.Min(at, there.Length)..][..same]) && !part[same..].ContainsAnyExcept((byte)0))
                continue;
            stream.Position = at;
            stream.Write(part);
        }
    }
}
