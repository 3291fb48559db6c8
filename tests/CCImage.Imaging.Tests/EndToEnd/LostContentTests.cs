using System.Globalization;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.Encryption;
using static CCImage.Tests.TestTree;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Files that vanish, shrink, grow, or cannot be read between scan and copy: the image is sound, says of each file what it holds, and the
/// job's result says that it is not whole.
/// </summary>
public sealed class LostContentTests : IDisposable
{
    private readonly string _folder = System.IO.Directory.CreateTempSubdirectory("ccimage-lost-").FullName;

    public static TheoryData<BackupImageFormat, bool> Formats
    {
        get
        {
            var data = new TheoryData<BackupImageFormat, bool>();
            foreach (BackupImageFormat format in Enum.GetValues<BackupImageFormat>().Where(f => f != BackupImageFormat.ReadOnlyAdc))
                data.Add(format, false);
            foreach (BackupImageFormat format in (BackupImageFormat[])[BackupImageFormat.Sparse, BackupImageFormat.SparseBundle,
                BackupImageFormat.ReadWrite, BackupImageFormat.ReadOnly, BackupImageFormat.ReadOnlyZlib])
                data.Add(format, true);
            return data;
        }
    }

    public void Dispose() => System.IO.Directory.Delete(_folder, true);

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_folder_that_changes_after_the_scan_gives_a_sound_image_that_says_so(BackupImageFormat format, bool encrypted)
    {
        string source = MakeSource();
        using var passphrase = Secrets.Of("secret");
        ImageRecipe recipe = Recipe(format) with
        {
            SourcePath = source, Encryption = encrypted ? BackupImageEncryption.Aes128 : BackupImageEncryption.None, Passphrase = encrypted
                ? passphrase : null,
        };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        Spoil(source);
        BackupReport report = creation.Run(CancellationToken.None).Report!;

        Assert.Equal(["emptied", "large that shrank", "shrunk", "vanished"],
            report.Lost.Select(w => Path.GetFileName(w.Path)).Order(StringComparer.Ordinal));
        Assert.Equal(["grown", "rewritten"], report.Changed.Select(w => Path.GetFileName(w.Path)).Order(StringComparer.Ordinal));
        Assert.Equal(ImageErrorId.BackedUpInPart, creation.Shortfall!.Id);
        Assert.Contains("4 entries", creation.Shortfall.Problem, StringComparison.Ordinal);

        AssertSound(recipe.Path, encrypted ? passphrase : null);
        using DiskImage image = DiskImage.Open(recipe.Path, encrypted ? passphrase : null);
        using SourceTree tree = image.ReadTree(null, CancellationToken.None);
        AssertFile(tree, "vanished", [], isLost: true);
        AssertFile(tree, "emptied", [], isLost: true);
        AssertFile(tree, "shrunk", Noise(100_000, 1)[..1234], isLost: true);
        AssertFile(tree, "large that shrank", Noise(3_000_000, 2)[..1_500_001], isLost: true);
        AssertFile(tree, "rewritten", [.. Enumerable.Repeat((byte)7, 5000)], isLost: false);
        AssertFile(tree, "grown", Noise(4000, 3), isLost: false);
        for (int i = 0; i < 300; i++)
            AssertFile(tree, string.Create(CultureInfo.InvariantCulture, $"still {i}"), Noise(500 + i, i), isLost: false);
    }

    [OracleTheory("7z", "qemu-img", "fls", "icat")]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.ReadWrite)]
    public void Other_readers_find_what_could_be_read_and_nothing_to_complain_of(BackupImageFormat format)
    {
        string image = MakeSpoiled(format), raw = Path.Combine(_folder, "raw");
        if (ImageOutput.IsReadOnly(format)) ForeignReaders.TestUdif(image);
        ForeignReaders.Decode(image, format, raw);
        Dictionary<string, ForeignEntry> listed = ForeignReaders.List(raw);
        Assert.Equal(0, listed["vanished"].Size);
        Assert.Equal(1234, listed["shrunk"].Size);
        Assert.Equal(Noise(100_000, 1)[..1234], ForeignReaders.Content(raw, listed["shrunk"].Inode));
        Assert.Equal(Noise(4000, 3), ForeignReaders.Content(raw, listed["grown"].Inode));
        Assert.Equal(Noise(799, 299), ForeignReaders.Content(raw, listed["still 299"].Inode));
    }

    [OracleFact("fsck_hfs")]
    public void Fsck_has_no_complaint_of_a_volume_with_losses()
    {
        string window = Path.Combine(_folder, "window");
        ForeignReaders.CopyWindow(MakeSpoiled(BackupImageFormat.ReadWrite), window);
        (int exitCode, string output, string error) = Oracle.Run("fsck_hfs", "-fn", window);
        Assert.True(exitCode == 0, output + error);
        Assert.Contains("appears to be OK", output + error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    [InlineData(BackupImageFormat.ReadOnly)]
    [InlineData(BackupImageFormat.Sparse)]
    public void Content_that_gives_a_read_error_ends_where_reading_ended_and_what_lies_between_is_kept(BackupImageFormat format)
    {
        var tree = new TestTree
        {
            TestTree.File("bad from the middle", 50_000, () =>
                new HookedStorage(Noise(50_000, 5), offset => offset >= 20_480 ? throw new IOException("EIO") : null)),
            TestTree.File("bad in the middle", 50_000, () =>
                new HookedStorage(Noise(50_000, 6), offset => offset is >= 8192 and < 12_288 ? throw new IOException("EIO") : null)),
            TestTree.File("good at the second attempt", 50_000, FailsOnce),
            TestTree.File("good", Noise(50_000, 8)),
            TestTree.File("fork", Noise(10, 9), new Meta { Resource = Noise(9000, 10) }),
            TestTree.File("attribute", Noise(10, 9), new Meta { AttributesOnDemand = [("large", Noise(20_000, 11))] }),
            TestTree.File("small attribute", Noise(10, 9), new Meta { AttributesOnDemand = [("small", Noise(100, 11))] }),
        };
        tree.OnOpenFork = (entry, fork) =>
        {
            if (entry.Name == "fork" && fork == ForkKind.Resource) throw new ImageException(ImageErrorId.SourceUnreadable, "Gone.");
        };
        tree.OnOpenAttribute = entry =>
        {
            if (entry.Attributes.Count > 0) throw new ImageException(ImageErrorId.SourceUnreadable, "Gone.");
        };
        ImageRecipe recipe = Recipe(format);
        using ImageCreation creation = ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None);
        BackupReport report = creation.Run(CancellationToken.None).Report!;

        Assert.Equal(["/attribute", "/bad from the middle", "/bad in the middle", "/fork", "/small attribute"],
            report.Lost.Select(w => w.Path).Order(StringComparer.Ordinal));
        Assert.Empty(report.Changed);
        AssertSound(recipe.Path, null);
        using DiskImage image = DiskImage.Open(recipe.Path);
        using SourceTree read = image.ReadTree(null, CancellationToken.None);
        AssertFile(read, "bad from the middle", Noise(50_000, 5)[..20_480], isLost: true);
        byte[] salvaged = Noise(50_000, 6);
        salvaged.AsSpan(8192, 4096).Clear();
        AssertFile(read, "bad in the middle", salvaged, isLost: true);
        AssertFile(read, "good at the second attempt", Noise(50_000, 7), isLost: false);
        AssertFile(read, "good", Noise(50_000, 8), isLost: false);
        AssertFile(read, "fork", Noise(10, 9), isLost: true);
        AssertFile(read, "attribute", Noise(10, 9), isLost: true);
        AssertFile(read, "small attribute", Noise(10, 9), isLost: true);
        Assert.Equal(0, Find(read, "fork").ResourceForkSize);
        Assert.Equal(0, Assert.Single(Find(read, "small attribute").Attributes).Size);
        Assert.Equal(0, Assert.Single(Find(read, "attribute").Attributes).Size);

        static HookedStorage FailsOnce()
        {
            int failures = 0;
            return new HookedStorage(Noise(50_000, 7), _ => Interlocked.Increment(ref failures) == 1 ? throw new IOException("EIO") : null);
        }
    }

    [Fact]
    public void A_lost_file_with_several_names_is_marked_under_all_of_them()
    {
        var meta = new Meta { HardLinkId = 1 };
        var tree = new TestTree
        {
            TestTree.File("a", 100, () => throw new ImageException(ImageErrorId.SourceUnreadable, "Gone."), meta),
            TestTree.File("b", 100, () => throw new ImageException(ImageErrorId.SourceUnreadable, "Gone."), meta),
        };
        ImageRecipe recipe = Recipe(BackupImageFormat.ReadOnlyZlib);
        using (ImageCreation creation = ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None))
            Assert.Single(creation.Run(CancellationToken.None).Report!.Lost);
        AssertSound(recipe.Path, null);
        using DiskImage image = DiskImage.Open(recipe.Path);
        using SourceTree read = image.ReadTree(null, CancellationToken.None);
        AssertFile(read, "a", [], isLost: true);
        AssertFile(read, "b", [], isLost: true);
    }

    [Fact]
    public void A_file_is_lost_from_a_volume_that_is_full_to_its_last_block()
    {
        var tree = new TestTree { TestTree.File(
            "gone", 9_000_000, () => throw new ImageException(ImageErrorId.SourceUnreadable, "Gone.")) };
        ImageRecipe recipe = Recipe(BackupImageFormat.ReadOnlyZlib) with { SizeBytes = 1 << 20 };
        ImageException tooSmall =
            Assert.Throws<ImageException>(() => ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None));
        long least = long.Parse(System.Text.RegularExpressions.Regex.Match(tooSmall.Remedy!, "[0-9]+").Value, CultureInfo.InvariantCulture);
        recipe = recipe with { SizeBytes = least };
        using (ImageCreation creation = ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None))
            creation.Run(CancellationToken.None);
        AssertSound(recipe.Path, null);
        using DiskImage image = DiskImage.Open(recipe.Path);
        using SourceTree read = image.ReadTree(null, CancellationToken.None);
        AssertFile(read, "gone", [], isLost: true);
        Assert.True(image.Describe().FreeBytes >= 9_000_000);
    }

    [Fact]
    public void A_run_without_loss_has_no_shortfall()
    {
        ImageRecipe recipe = Recipe(BackupImageFormat.ReadOnlyZlib) with { SourcePath = MakeSource() };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        creation.Run(CancellationToken.None);
        Assert.Null(creation.Shortfall);
    }

    /// <summary>Files that change at random while several threads read them: whatever happens, the image is sound and a file that is not
    /// marked is as long as planned.</summary>
    [Theory]
    [InlineData(BackupImageFormat.ReadOnlyLzfse, 1)]
    [InlineData(BackupImageFormat.ReadOnly, 2)]
    [InlineData(BackupImageFormat.Sparse, 3)]
    [InlineData(BackupImageFormat.SparseBundle, 4)]
    public void Whatever_a_source_does_while_it_is_read_the_image_is_sound(BackupImageFormat format, int seed)
    {
        var random = new Random(seed);
        var sizes = new Dictionary<string, long>();
        var tree = new TestTree();
        for (int i = 0; i < 200; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"f{i}");
            int size = random.Next(10) == 0 ? random.Next(1, 4_000_000) : random.Next(1, 20_000), own = random.Next();
            sizes.Add(name, size);
            tree.Add(TestTree.File(name, size, () => Whim(size, own)));
        }

        ImageRecipe recipe = Recipe(format);
        using ImageCreation creation = ImageCreation.PrepareFrom(recipe, tree, SilentObserver.Instance, CancellationToken.None);
        BackupReport report = creation.Run(CancellationToken.None).Report!;
        Assert.NotEmpty(report.Lost);
        AssertSound(recipe.Path, null);
        var lost = report.Lost.Select(w => w.Path).ToHashSet();
        using DiskImage image = DiskImage.Open(recipe.Path);
        using SourceTree read = image.ReadTree(null, CancellationToken.None);
        foreach ((string name, long size) in sizes)
        {
            SourceEntry entry = Find(read, name);
            Assert.Equal(lost.Contains("/" + name), LostContentMark.IsOn(entry.FinderInfo));
            if (lost.Contains("/" + name)) Assert.InRange(entry.Size, 0, size);
            else Assert.Equal(size, entry.Size);
        }

        static BlockStorage Whim(int size, int seed)
        {
            var own = new Random(seed ^ Environment.TickCount);
            return own.Next(8) switch
            {
                0 => throw new ImageException(ImageErrorId.SourceUnreadable, "Gone."),
                1 => new HookedStorage(Noise(own.Next(0, size), seed), null),
                2 => new HookedStorage(Noise(size + own.Next(1, 10_000), seed), null),
                3 => new HookedStorage(Noise(size, seed), _ => Random.Shared.Next(2) == 0 ? throw new IOException("EIO") : null),
                _ => new HookedStorage(Noise(size, seed), null),
            };
        }
    }

    private static SourceEntry Find(SourceTree tree, string name) => tree.Root.Children.Single(e => e.Name == name);

    private static void AssertFile(SourceTree tree, string name, byte[] content, bool isLost)
    {
        SourceEntry entry = Find(tree, name);
        Assert.Equal(isLost, LostContentMark.IsOn(entry.FinderInfo));
        Assert.Equal(content.Length, entry.Size);
        if (content.Length == 0) return;
        using BlockStorage fork = tree.OpenFork(entry, ForkKind.Data);
        byte[] bytes = new byte[fork.Length];
        fork.Read(0, bytes);
        Assert.True(content.AsSpan().SequenceEqual(bytes), name);
    }

    private static void AssertSound(string path, CCImage.Encryption.Passphrase? passphrase)
    {
        ImageVerificationResult result =
            ImageVerification.Run(new(path) { Passphrase = passphrase }, SilentObserver.Instance, CancellationToken.None);
        Assert.True(result.IsSound, string.Join('\n', result.Findings.Where(f => f.Grade > ImageFindingGrade.Note)));
    }

    private ImageRecipe Recipe(BackupImageFormat format) => new()
    {
        Path = Path.Combine(_folder, "image"), Format = format, SizeBytes = ImageOutput.Grows(format) ? 100_000_000
            : null, VolumeName = "Lost",
    };

    private string MakeSource()
    {
        string source = System.IO.Directory.CreateDirectory(Path.Combine(_folder, "source")).FullName;
        Write("vanished", Noise(50_000, 4));
        Write("emptied", Noise(10_000, 4));
        Write("shrunk", Noise(100_000, 1));
        Write("large that shrank", Noise(3_000_000, 2));
        Write("rewritten", Noise(5000, 12));
        Write("grown", Noise(4000, 3));
        for (int i = 0; i < 300; i++) Write(string.Create(CultureInfo.InvariantCulture, $"still {i}"), Noise(500 + i, i));
        foreach (string file in System.IO.Directory.GetFiles(source))
            System.IO.File.SetLastWriteTimeUtc(file, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        return source;

        void Write(string name, byte[] bytes) => System.IO.File.WriteAllBytes(Path.Combine(source, name), bytes);
    }

    private string MakeSpoiled(BackupImageFormat format)
    {
        string source = MakeSource();
        ImageRecipe recipe = Recipe(format) with { SourcePath = source };
        using ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None);
        Spoil(source);
        creation.Run(CancellationToken.None);
        return recipe.Path;
    }

    private static void Spoil(string source)
    {
        System.IO.File.Delete(Path.Combine(source, "vanished"));
        Cut("emptied", 0);
        Cut("shrunk", 1234);
        Cut("large that shrank", 1_500_001);
        System.IO.File.WriteAllBytes(Path.Combine(source, "rewritten"), [.. Enumerable.Repeat((byte)7, 5000)]);
        using FileStream grown = System.IO.File.Open(Path.Combine(source, "grown"), FileMode.Append);
        grown.Write(Noise(9000, 13));

        void Cut(string name, long length)
        {
            using FileStream file = System.IO.File.OpenWrite(Path.Combine(source, name));
            file.SetLength(length);
        }
    }

    /// <summary>Bytes, and something that happens at every read.</summary>
    private sealed class HookedStorage(byte[] bytes, Func<long, object?>? onRead) : BlockStorage
    {
        public override long Length => bytes.Length;

        protected override void ReadCore(long offset, Span<byte> buffer)
        {
            // A disk gives errors by its own blocks.
            for (long at = offset; at < offset + buffer.Length; at += 4096) onRead?.Invoke(at);
            bytes.AsSpan((int)offset, buffer.Length).CopyTo(buffer);
        }
    }
}
