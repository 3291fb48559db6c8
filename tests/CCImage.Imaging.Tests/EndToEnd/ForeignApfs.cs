using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using CCImage.Diagnostics;
using CCImage.FileSystems.Apfs;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.EndToEnd;

/// <summary>What a driver of other people wrote into the volumes of an APFS container, and what it must read there again.</summary>
/// <param name="folder">For what is handed over.</param>
/// <param name="volumes">Volumes of the container.</param>
/// <param name="seed">Of what is written.</param>
internal sealed class ForeignApfs(TemporaryFolder folder, int volumes, int seed)
{
    private readonly Random _random = new(seed);
    private readonly SortedDictionary<string,
        byte[]>[] _files = [.. Enumerable.Range(0, volumes).Select(_ => new SortedDictionary<string, byte[]>(StringComparer.Ordinal))];
    private readonly List<(int Volume, string Name, string[] Files)> _snapshots = [];
    private int _next;

    /// <summary>Makes a container.</summary>
    public static void Make(string raw, long size)
    {
        using (FileStream file = File.Create(raw)) file.SetLength(size);
        Oracle.RunForBytes("mkapfs", "-L", "Sequence", raw);
    }

    /// <summary>Takes a container that has files and snapshots already: what is in the snapshots must stay, the files are
    /// deleted.</summary>
    /// <param name="raw">The container, before anything of ours was done to it.</param>
    /// <param name="snapshots">Volume and name of each.</param>
    public void Adopt(string raw, params (int Volume, string Name)[] snapshots)
    {
        string script = string.Concat(snapshots.Select(s => ReadScript($"vol={s.Volume},snap={s.Name}") + "echo .\n"));
        string[] read = Run(raw, "set -e\n" + script, null).Split(".\n");
        Assert.Equal(snapshots.Length + 1, read.Length);
        for (int i = 0; i < snapshots.Length; i++)
            _snapshots.Add((snapshots[i].Volume, snapshots[i].Name, read[i].Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        Run(raw, string.Concat(Enumerable.Range(0, volumes)
            .Select(v => $"set -e\nmount -t apfs -o rw,vol={v} /dev/ubda /mnt\nrm -r /mnt/*\numount /mnt\n")), null);
    }

    /// <summary>Adds, links, deletes and overwrites files in each volume.</summary>
    /// <param name="raw">The container.</param>
    /// <param name="largest">Bytes of a large file.</param>
    /// <param name="snapshot">Takes a snapshot of this name in the middle, of every volume.</param>
    public void Change(string raw, int largest, string? snapshot = null)
    {
        string host = Directory.CreateDirectory(folder["host"]).FullName;
        var script = new StringBuilder("set -e\n");
        for (int volume = 0; volume < volumes; volume++)
        {
            script.Append(CultureInfo.InvariantCulture, $"mount -t apfs -o rw,vol={volume} /dev/ubda /mnt\nmkdir -p /mnt/sub\n");
            Add(script, host, volume, largest);
            if (snapshot is not null)
            {
                script.Append(CultureInfo.InvariantCulture, $"sync\napfs-snap /mnt {snapshot}\n");
                _snapshots.Add((volume, snapshot, Hashes(volume)));
            }

            Delete(script, volume);
            Overwrite(script, host, volume);
            script.Append("umount /mnt\n");
        }

        Run(raw, script.ToString(), host);
        Directory.Delete(host, recursive: true);
    }

    /// <summary>Every file of every volume and snapshot is what was written, and others who check the container find nothing.</summary>
    public void Check(string raw)
    {
        (int exitCode, string output, string error) = Oracle.Run("apfsck", "-cuw", raw);
        Assert.Equal((0, ""), (exitCode, output + error));
        var script = new StringBuilder();
        var expected = new List<string>();
        for (int volume = 0; volume < volumes; volume++) Read($"vol={volume}", Hashes(volume));
        foreach ((int volume, string name, string[] files) in _snapshots) Read($"vol={volume},snap={name}", files);
        Assert.Equal(expected, Run(raw, "set -e\n" + script, null).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        ReadOurselves(raw);
        if (_snapshots.Count == 0 && volumes == 1) ReadWith7Zip(raw); // it knows neither: what it shows then is an older state

        void Read(string options, string[] files)
        {
            script.Append(CultureInfo.InvariantCulture, $"echo {options}\n{ReadScript(options)}");
            expected.AddRange([options, .. files]);
        }
    }

    /// <summary>Our own checker finds nothing, and what is free is what the bitmaps have.</summary>
    /// <param name="raw">The container; what is free is overwritten, if not all of it.</param>
    public static void CheckOurselvesAndWipe(string raw)
    {
        using FileStorage storage = FileStorage.OpenWrite(raw);
        using ApfsContainer container = ApfsContainer.Open(storage);
        var findings = new ImageFindings(raw);
        container.Check(findings, CancellationToken.None);
        Assert.True(findings.IsSound && findings.ToList().All(f => f.Grade == ImageFindingGrade.Ok), string.Join('\n', findings.ToList()));
        StorageExtent[] free = [.. container.GetFreeExtents()];
        Assert.Equal(container.FreeBytes, free.Sum(e => e.Length));
        byte[] rubbish = new byte[1 << 20];
        rubbish.AsSpan().Fill(0xE5);
        foreach (StorageExtent extent in free)
        {
            // Of what is very long, what lies near others.
            int length = (int)Math.Min(rubbish.Length, extent.Length);
            for (long at = extent.Offset; at < Math.Min(extent.End, extent.Offset + (8 << 20)); at += length)
                storage.Write(at, rubbish.AsSpan(0, (int)Math.Min(length, extent.End - at)));
            storage.Write(extent.End - length, rubbish.AsSpan(0, length));
        }
    }

    /// <summary>Runs a script in which the container is <c>/dev/ubda</c>, and a folder of ours <c>/host</c>.</summary>
    public string Run(string raw, string script, string? host)
    {
        string path = folder["script.sh"];
        File.WriteAllText(path, script);
        (int exitCode, string output, string error) = host is null ? Oracle.Run("uml-apfs", raw, path)
            : Oracle.Run("uml-apfs", raw, path, host);
        Assert.True(exitCode == 0, output + error + script);
        return output;
    }

    /// <summary>The files of a tree as sha256sum lists those of a folder.</summary>
    /// <param name="tree">The tree.</param>
    public static IEnumerable<string> HashesOf(SourceTree tree)
    {
        foreach (SourceEntry entry in tree.Enumerate().Where(e => e.Kind == EntryKind.File))
        {
            using BlockStorage content = tree.OpenFork(entry, ForkKind.Data);
            byte[] bytes = new byte[content.Length];
            content.Read(0, bytes);
            yield return $"{Convert.ToHexStringLower(SHA256.HashData(bytes))}  ./{entry.RelativePath}";
        }
    }

    private void ReadOurselves(string raw)
    {
        using FileStorage storage = FileStorage.OpenRead(raw);
        using ApfsContainer container = ApfsContainer.Open(storage);
        for (int volume = 0; volume < volumes; volume++)
        {
            using SourceTree tree = container.ReadTree(volume)!;
            Assert.Equal(Hashes(volume).Order(StringComparer.Ordinal), HashesOf(tree).Order(StringComparer.Ordinal));
        }
    }

    private static string ReadScript(string options) =>
        $"mount -t apfs -o ro,{options} /dev/ubda /mnt\ncd /mnt\nfind . -type f -print0 | sort -z | xargs -0 -r sha256sum\ncd /\numount "
            + $"/mnt\n";

    private void Add(StringBuilder script, string host, int volume, int largest)
    {
        for (int i = 0; i < 8; i++)
        {
            string name = _random.Next(3) == 0 ? $"./sub/Äther {_next++}" : $"./file {_next++}";
            byte[] bytes = TestTree.Noise(_random.Next(_random.Next(3) == 0 ? largest : 60_000), _random.Next());
            script.Append(CultureInfo.InvariantCulture, $"cp '/host/{Hand(host, bytes)}' '/mnt/{name}'\n");
            _files[volume][name] = bytes;
        }

        // Changed through one name, it is changed through both.
        string[] names = [.. _files[volume].Keys];
        string from = names[_random.Next(names.Length)], link = $"./link {_next++}";
        script.Append(CultureInfo.InvariantCulture, $"ln '/mnt/{from}' '/mnt/{link}'\n");
        _files[volume][link] = _files[volume][from];
    }

    private void Delete(StringBuilder script, int volume)
    {
        foreach (string name in _files[volume].Keys.Where(_ => _random.Next(3) == 0).ToArray())
        {
            script.Append(CultureInfo.InvariantCulture, $"rm '/mnt/{name}'\n");
            _files[volume].Remove(name);
        }
    }

    private void Overwrite(StringBuilder script, string host, int volume)
    {
        foreach ((string name, byte[] bytes) in _files[volume].Where(f => f.Value.Length > 20_000 && _random.Next(3) == 0).ToArray())
        {
            byte[] patch = TestTree.Noise(_random.Next(1, 9000), _random.Next());
            int at = _random.Next((bytes.Length - patch.Length) / 512) * 512;
            script.Append(CultureInfo.InvariantCulture,
                $"dd if='/host/{Hand(host, patch)}' of='/mnt/{name}' bs=512 seek={at / 512} conv=notrunc 2> /dev/null\n");
            patch.CopyTo(bytes.AsSpan(at));
        }
    }

    private string Hand(string host, byte[] bytes)
    {
        string name = $"{_next++}";
        File.WriteAllBytes(Path.Combine(host, name), bytes);
        return name;
    }

    private string[] Hashes(int volume) =>
        [.. _files[volume].Select(f => $"{Convert.ToHexStringLower(SHA256.HashData(f.Value))}  {f.Key}")];

    private void ReadWith7Zip(string raw)
    {
        string read = folder["read"];
        Oracle.RunForBytes("7z", "x", "-y", "-tapfs", $"-o{read}", raw);
        string unlinked = Path.Combine(read, "private-dir"); // where the driver keeps what it has yet to delete
        if (Directory.Exists(unlinked)) Directory.Delete(unlinked, recursive: true);
        string[] found = [.. Directory.GetFiles(read, "*", SearchOption.AllDirectories)
            .Select(f => $"{Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(f)))}  ./{Path.GetRelativePath(read, f)}")];
        Directory.Delete(read, recursive: true);
        Assert.Equal(Hashes(0).Order(StringComparer.Ordinal), found.Order(StringComparer.Ordinal));
    }
}
