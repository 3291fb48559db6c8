using CCImage.Storage;

namespace CCImage.Tests.Storage;

public sealed class FileStorageTests : WritableStorageContract
{
    private string ImagePath => Path.Combine(Folder, "image");

    [Fact]
    public void Knows_holes_where_the_host_does()
    {
        using (FileStorage file = FileStorage.CreateNew(ImagePath))
        {
            file.SetLength(10 << 20);
            file.Write(4 << 20, new byte[] { 1 });
            file.Flush();
        }

        using FileStorage read = FileStorage.OpenRead(ImagePath);
        Assert.Equal(10 << 20, read.Length);
        if (!OperatingSystem.IsWindows())
            Assert.True(read.GetExtents(0, read.Length).Where(e => e.Kind == ExtentKind.Zero).Sum(e => e.Length) > 9 << 20);
    }

    [Fact]
    public void One_writer_or_many_readers()
    {
        File.WriteAllBytes(ImagePath, new byte[512]);
        using (FileStorage.OpenWrite(ImagePath))
        {
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => FileStorage.OpenWrite(ImagePath)).Id);
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => FileStorage.OpenRead(ImagePath)).Id);
        }

        using FileStorage first = FileStorage.OpenRead(ImagePath);
        using FileStorage second = FileStorage.OpenRead(ImagePath);
        Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => FileStorage.OpenWrite(ImagePath)).Id);
    }

    [Fact]
    public void Names_what_is_wrong()
    {
        string missing = Path.Combine(Folder, "missing"), deep = Path.Combine(missing, "x");
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => FileStorage.OpenRead(missing)).Id);
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => FileStorage.OpenWrite(missing)).Id);
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => FileStorage.OpenRead(deep)).Id);
        Assert.Equal(ImageErrorId.ImageNotFound, Assert.Throws<ImageException>(() => FileStorage.OpenWrite(deep)).Id);
        Assert.Equal(ImageErrorId.DestinationNotFound, Assert.Throws<ImageException>(() => FileStorage.CreateNew(deep)).Id);
        Assert.Equal(ImageErrorId.UnknownFormat, Assert.Throws<ImageException>(() => FileStorage.OpenRead(Folder)).Id);
        File.WriteAllText(ImagePath, "x");
        ImageException exists = Assert.Throws<ImageException>(() => FileStorage.CreateNew(ImagePath));
        Assert.Equal((ImageErrorId.DestinationExists, ImagePath), (exists.Id, exists.Path));
        Assert.Equal("x", File.ReadAllText(ImagePath));
    }

    [Fact]
    public void Reports_that_there_is_no_room()
    {
        Require.Linux();
        using FileStorage full =
            FileStorage.Take("/dev/full", File.OpenHandle("/dev/full", FileMode.Open, FileAccess.ReadWrite), writable: true);
        Assert.Equal(ImageErrorId.DestinationFull, Assert.Throws<ImageException>(() => full.Write(0, new byte[512])).Id);
        ImageException reserve = Assert.Throws<ImageException>(() => FileStorage.CreateNew(ImagePath, FileMode.CreateNew, 1L << 43));
        Assert.Equal(ImageErrorId.DestinationFull, reserve.Id);
        Assert.False(File.Exists(ImagePath));
    }

    [Fact]
    public void Reports_that_a_file_is_too_large()
    {
        using FileStorage file = FileStorage.CreateNew(ImagePath);
        ImageErrorId id = Assert.Throws<ImageException>(() => file.Write(long.MaxValue - 1, new byte[512])).Id;
        Assert.Equal(ImageErrorId.DestinationFileSizeLimit, id);
        if (!OperatingSystem.IsLinux()) return;

        // Beyond what any Linux file system takes.
        id = Assert.Throws<ImageException>(() => file.Write(long.MaxValue - 600, new byte[512])).Id;
        Assert.Equal(ImageErrorId.DestinationFileSizeLimit, id);
    }

    [Fact]
    public void Preallocates()
    {
        using FileStorage file = FileStorage.CreateNew(ImagePath, FileMode.CreateNew, 5 << 20);
        Assert.Equal(0, file.Length);
        file.SetLength(5 << 20);
        Assert.Equal(new byte[5 << 20], ReadAll(file));
    }

    protected override BlockStorage Make(int seed, out byte[] content)
    {
        content = Content(seed, 300_001);
        FileStorage file = FileStorage.CreateNew(Path.Combine(Folder, "contract"));
        file.Write(content.Length - 1, content.AsSpan(content.Length - 1));
        for (int at = 0; at < content.Length; at += 4096)
        {
            ReadOnlySpan<byte> part = content.AsSpan(at, Math.Min(4096, content.Length - at));
            if (part.ContainsAnyExcept((byte)0)) file.Write(at, part);
        }

        return file;
    }

    protected override BlockStorage Reopen(BlockStorage storage)
    {
        storage.Dispose();
        return FileStorage.OpenRead(Path.Combine(Folder, "contract"));
    }
}
