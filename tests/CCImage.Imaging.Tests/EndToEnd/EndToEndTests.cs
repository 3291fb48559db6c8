using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using CCImage.Diagnostics;
using CCImage.Sources;

namespace CCImage.Tests.EndToEnd;

/// <summary>The main job on real input, judged by readers that are not ours.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class EndToEndTests : IDisposable
{
    private static readonly string s_hashOfNothing = System.Convert.ToHexStringLower(SHA256.HashData([]));

    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-e2e-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [OracleFact("7z", "fls", "icat", "qemu-img", "python3", "mkfifo")]
    public void Foreign_readers_find_every_file_of_an_odd_tree_in_all_five_formats()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string source = Path.Combine(_folder, "Source");
        OddTree.Make(source);
        foreach (BackupImageFormat format in new[]
                 {
                     BackupImageFormat.ReadOnlyZlib, BackupImageFormat.ReadOnly, BackupImageFormat.ReadWrite, BackupImageFormat.Sparse,
                         BackupImageFormat.SparseBundle,
                 })
        {
            string image = Back(source, format);
            Compare(source, image, format);
        }
    }

    /// <summary>A real tree of at least 20,000 files: the one that CCIMAGE_TREE names, or a part of this machine's own that is large
    /// enough.</summary>
    [OracleTheory("7z", "fls", "icat", "qemu-img", "python3")]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadWrite)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    public void Foreign_readers_find_every_file_of_a_large_tree(BackupImageFormat format)
    {
        string? source = Environment.GetEnvironmentVariable("CCIMAGE_TREE")
            ?? Array.Find(["/usr/share/man", "/usr/share", "/usr"], IsLarge);
        Require.That(source is not null, "There is no tree of 20,000 files here; CCIMAGE_TREE names one.");

        // Case-sensitive: trees of Linux have names that differ in nothing else.
        string image = Back(source, format, ImageFileSystem.HfsPlusCaseSensitive, capacity: 8_000_000_000);
        Compare(source, image, format);

        static bool IsLarge(string path) => Directory.Exists(path)
            && Directory.EnumerateFiles(path, "*", new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 })
                .Take(20_000).Count() == 20_000;
    }

    [OracleFact("fsck_hfs")]
    public void Apples_own_checker_has_no_complaint()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string source = Path.Combine(_folder, "Source");
        OddTree.Make(source);
        foreach (ImageFileSystem fileSystem in Enum.GetValues<ImageFileSystem>())
        {
            string image = Back(source, BackupImageFormat.ReadWrite, fileSystem);
            string window = Path.Combine(_folder, "window");
            ForeignReaders.CopyWindow(image, window);
            (int exitCode, string output, string error) = Oracle.Run("fsck_hfs", "-fn", window);
            Assert.True(exitCode == 0, output + error);
            Assert.Contains("appears to be OK", output + error, StringComparison.Ordinal);
            File.Delete(image);
        }
    }

    [Fact]
    public void A_file_rewritten_after_the_scan_is_named_even_at_the_same_size()
    {
        string source = Path.Combine(_folder, "Source");
        Directory.CreateDirectory(source);
        foreach (string name in (string[])["same size", "grown", "still"])
            File.WriteAllText(Path.Combine(source, name), new string('a', 100_000));
        foreach (string file in Directory.GetFiles(source))
            File.SetLastWriteTimeUtc(file, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        var recipe =
            new ImageRecipe { SourcePath = source, Path = Path.Combine(_folder, "a.dmg"), Format = BackupImageFormat.ReadOnlyZlib };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        File.WriteAllText(Path.Combine(source, "same size"), new string('b', 100_000));
        File.AppendAllText(Path.Combine(source, "grown"), "b");
        BackupReport report = creation.Run(CancellationToken.None).Report!;
        Assert.Equal(["grown", "same size"], report.Changed.Select(w => Path.GetFileName(w.Path)).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.ReadWrite)]
    public void The_same_recipe_gives_the_same_bytes(BackupImageFormat format)
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string source = Path.Combine(_folder, "Source");
        OddTree.Make(source);
        var recipe = new ImageRecipe
        {
            SourcePath = source, Path = Path.Combine(_folder, "a"), Format = format, SizeBytes = ImageOutput.IsReadOnly(format) ? null
                : 200_000_000,
        };
        Dictionary<string, string> first = Make(recipe);
        Thread.Sleep(1100); // HFS+ counts in seconds: what a backup would change of the source has to show
        Dictionary<string, string> second = Make(recipe with { Path = Path.Combine(_folder, "b") });
        Assert.Equal(first, second);

        static Dictionary<string, string> Make(ImageRecipe recipe)
        {
            using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
            creation.Run(CancellationToken.None);
            return File.Exists(recipe.Path)
                ? new() { [""] = Hash(recipe.Path) }
                : Directory.EnumerateFiles(recipe.Path, "*", SearchOption.AllDirectories)
                    .ToDictionary(f => Path.GetRelativePath(recipe.Path, f), Hash);
        }
    }

    [Fact]
    public void A_conversion_without_free_space_holds_the_same_files_and_with_it_the_same_disk()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string source = Path.Combine(_folder, "Source");
        OddTree.Make(source);
        string image = Back(source, BackupImageFormat.SparseBundle);
        string small = Path.Combine(_folder, "small.dmg");
        string exact = Path.Combine(_folder, "exact.dmg");
        Convert(image, small, keepFreeSpace: false);
        Convert(image, exact, keepFreeSpace: true);
        using DiskImage original = DiskImage.Open(image);
        using DiskImage whole = DiskImage.Open(exact);
        Assert.Equal(original.Disk.Length, whole.Disk.Length);
        byte[] left = new byte[1 << 20];
        byte[] right = new byte[1 << 20];
        for (long at = 0; at < original.Disk.Length; at += left.Length)
        {
            int count = (int)Math.Min(left.Length, original.Disk.Length - at);
            original.Disk.Read(at, left.AsSpan(0, count));
            whole.Disk.Read(at, right.AsSpan(0, count));
            Assert.True(left.AsSpan(0, count).SequenceEqual(right.AsSpan(0, count)), $"byte {at} and on");
        }

        string restored = Path.Combine(_folder, "restored");
        ImageRestore.Run(
            new ImageRestoreRequest { Path = small, DestinationPath = restored }, SilentObserver.Instance, CancellationToken.None);
        Assert.Equal(HashTree(source), HashTree(restored));

        static void Convert(string from, string to, bool keepFreeSpace) => ImageConversion.Run(
            new ImageConversionRequest { Path = from, DestinationPath = to, Format = BackupImageFormat.ReadOnlyZlib,
            KeepFreeSpace = keepFreeSpace },
            SilentObserver.Instance,
            CancellationToken.None);
    }

    [LinuxFact]
    public void Holes_of_the_source_need_no_room()
    {
        string source = Path.Combine(_folder, "Source"), image = Path.Combine(_folder, "image.sparsebundle");
        Directory.CreateDirectory(source);
        using (FileStream file = File.Create(Path.Combine(source, "disk of a virtual machine"))) file.SetLength(2L << 40);
        var recipe = new ImageRecipe { SourcePath = source, Path = image, Format = BackupImageFormat.SparseBundle, SizeBytes = 3L << 40 };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        Assert.InRange(creation.Estimate.ExpectedBytes, 1, Math.Min(creation.Estimate.AvailableBytes, 1L << 30));
        Assert.InRange(creation.Run(CancellationToken.None).StoredBytes, 1, 1L << 31);
    }

    [LinuxFact]
    public void An_image_is_not_converted_onto_or_into_itself_by_whatever_path()
    {
        string source = Path.Combine(_folder, "Source"), other = Path.Combine(_folder, "other");
        Directory.CreateDirectory(source);
        File.WriteAllText(Path.Combine(source, "file"), "text");
        Directory.CreateSymbolicLink(other, _folder);
        string image = Back(source, BackupImageFormat.ReadWrite), bundle = Back(source, BackupImageFormat.SparseBundle);
        foreach ((string from, string to) in new[]
        {
            (image, image), (image, Path.Combine(other, Path.GetFileName(image))), (Path.Combine(other, Path.GetFileName(image)), image),
            (bundle, Path.Combine(bundle, "result.dmg")), (bundle, Path.Combine(other, Path.GetFileName(bundle), "bands", "result.dmg")),
        })
        {
            var request =
                new ImageConversionRequest { Path = from, DestinationPath = to, Format = BackupImageFormat.ReadOnlyZlib, Overwrite = true,
                    DeleteSource = true };
            ImageException error =
                Assert.Throws<ImageException>(() => ImageConversion.Run(request, SilentObserver.Instance, CancellationToken.None));
            Assert.Equal(ImageErrorId.InvalidArgument, error.Id);
            Assert.True(Path.Exists(from) && Path.Exists(image));
        }
    }

    private static string Hash(string file)
    {
        using FileStream stream = File.OpenRead(file);
        return System.Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    // Our own scanner tells files from FIFOs, which would wait for ever to be read.
    private static Dictionary<string, string> HashTree(string root)
    {
        using HostTree tree = FolderScanner.Scan(root, new FolderScanOptions(), SilentObserver.Instance, CancellationToken.None);
        return tree.Enumerate().Where(e => e.Kind == EntryKind.File).ToDictionary(e => e.RelativePath, e => Hash(tree.DisplayPath(e)));
    }

    // Every entry below the folder; links are not followed.
    private static IEnumerable<FileSystemInfo> Walk(string root)
    {
        var pending = new Stack<DirectoryInfo>([new DirectoryInfo(root)]);
        while (pending.TryPop(out DirectoryInfo? folder))
        {
            foreach (FileSystemInfo entry in folder.EnumerateFileSystemInfos(
                "*", new EnumerationOptions { AttributesToSkip = 0, IgnoreInaccessible = false }))
            {
                yield return entry;
                if (entry is DirectoryInfo { LinkTarget: null } below) pending.Push(below);
            }
        }
    }

    private static string Permissions(UnixFileMode mode)
    {
        var text = new StringBuilder();
        for (int i = 8; i >= 0; i--) text.Append(((int)mode >> i & 1) == 0 ? '-' : "xwr"[i % 3]);
        Special(UnixFileMode.SetUser, 2, 's');
        Special(UnixFileMode.SetGroup, 5, 's');
        Special(UnixFileMode.StickyBit, 8, 't');
        return text.ToString();

        void Special(UnixFileMode bit, int at, char letter)
        {
            if ((mode & bit) != 0) text[at] = text[at] == 'x' ? letter : char.ToUpperInvariant(letter);
        }
    }

    private string Back(
        string source, BackupImageFormat format, ImageFileSystem fileSystem = ImageFileSystem.HfsPlus, long capacity = 400_000_000)
    {
        string image = Path.Combine(_folder, "image-" + format);
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe
            {
                SourcePath = source,
                Path = image,
                Format = format,
                FileSystem = fileSystem,
                SizeBytes = ImageOutput.Grows(format) ? capacity : null,
                Overwrite = true,
            },
            SilentObserver.Instance,
            CancellationToken.None);
        BackupImage result = creation.Run(CancellationToken.None);
        Assert.Equal(format, result.Format);
        return image;
    }

    private void Compare(string source, string image, BackupImageFormat format)
    {
        if (ImageOutput.IsReadOnly(format)) ForeignReaders.TestUdif(image);
        string raw = Path.Combine(_folder, "raw");
        File.Delete(raw);
        ForeignReaders.Decode(image, format, raw);
        Dictionary<string, ForeignEntry> listed = ForeignReaders.List(raw);
        Dictionary<string,
            string> hashes = ForeignReaders.ExtractAndHash(raw, Directory.CreateDirectory(Path.Combine(_folder, "extracted")).FullName);
        Directory.Delete(Path.Combine(_folder, "extracted"), true);
        var problems = new List<string>();
        int files = 0, links = 0;
        foreach (FileSystemInfo entry in Walk(source))
        {
            string name = Path.GetRelativePath(source, entry.FullName).Normalize(NormalizationForm.FormC);

            // The Sleuth Kit shows control characters as ^.
            string shown = new([.. name.Select(c => c < ' ' ? '^' : c)]);
            if (!listed.TryGetValue(shown, out ForeignEntry? found))
            {
                problems.Add($"{name}: not listed");
                continue;
            }

            bool isLink = entry.LinkTarget is not null;
            if (isLink && found.Type == 'l' && links++ > 300) continue; // a process for each
            if (isLink)
            {
                string target = Encoding.UTF8.GetString(ForeignReaders.Content(raw, found.Inode));
                if (found.Type != 'l' || target != entry.LinkTarget) problems.Add($"{name}: link to '{target}' ({found.Type})");
                continue;
            }

            if (found.Permissions != Permissions(entry.UnixFileMode))
                problems.Add($"{name}: mode {found.Permissions}, not {Permissions(entry.UnixFileMode)}");
            long seconds = new DateTimeOffset(entry.LastWriteTimeUtc).ToUnixTimeSeconds();
            if (found.ModifySeconds != seconds) problems.Add($"{name}: modified {found.ModifySeconds}, not {seconds}");
            if (entry is FileInfo file && found.Type == 'r')
            {
                files++;
                if (found.Size != file.Length) problems.Add($"{name}: {found.Size} bytes, not {file.Length}");
                string expected = Hash(file.FullName);

                // 7-Zip renames what has a colon on the Mac, and gives an empty file for the second name of one: The Sleuth Kit reads
                // those.
                if (!hashes.TryGetValue(name, out string? hash) || (hash != expected && file.Length > 0 && hash == s_hashOfNothing))
                    hash = System.Convert.ToHexStringLower(SHA256.HashData(ForeignReaders.Content(raw, found.Inode)));
                if (hash != expected) problems.Add($"{name}: other content");
            }
        }

        Assert.True(problems.Count == 0, $"{format}: {problems.Count} problems\n" + string.Join('\n', problems.Take(20)));
        Assert.True(files > 100, files.ToString(CultureInfo.InvariantCulture));
        if (Directory.Exists(image)) Directory.Delete(image, true);
        else File.Delete(image);
    }
}
