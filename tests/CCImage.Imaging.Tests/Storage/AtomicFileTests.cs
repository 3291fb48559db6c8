using CCImage.Platform;
using CCImage.Storage;

namespace CCImage.Tests.Storage;

public sealed class AtomicFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-").FullName;

    private string Target => Path.Combine(_folder, "image.dmg");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Appears_with_its_commit_only()
    {
        using (var file = new AtomicFile(Target, overwrite: false))
        {
            file.Storage.Write(0, "new"u8);
            Assert.False(File.Exists(Target));
            file.Commit();
            Assert.Equal("new", File.ReadAllText(Target));
        }

        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void Leaves_nothing_without_commit()
    {
        File.WriteAllText(Target, "old");
        using (var file = new AtomicFile(Target, overwrite: true)) file.Storage.Write(0, "new"u8);
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal("old", File.ReadAllText(Target));
    }

    [Fact]
    public void Leaves_nothing_when_it_is_cancelled_at_the_last_moment()
    {
        File.WriteAllText(Target, "old");
        using (var file = new AtomicFile(Target, overwrite: true))
            Assert.Throws<OperationCanceledException>(() => file.Commit(new CancellationToken(true)));
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal("old", File.ReadAllText(Target));
    }

    [Fact]
    public void Replaces_when_asked_to_and_keeps_the_permissions()
    {
        File.WriteAllText(Target, "old");
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(Target, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using var file = new AtomicFile(Target, overwrite: true);
        file.Storage.Write(0, "newer"u8);
        file.Commit();
        Assert.Equal("newer", File.ReadAllText(Target));
        if (!OperatingSystem.IsWindows()) Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Target));
    }

    [Fact]
    public void Never_replaces_unasked()
    {
        using (var file = new AtomicFile(Target, overwrite: false))
        {
            file.Storage.Write(0, "new"u8);
            File.WriteAllText(Target, "came meanwhile");
            Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => file.Commit()).Id);
        }

        Assert.Equal("came meanwhile", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => new AtomicFile(Target, overwrite: false)).Id);
        string deep = Path.Combine(_folder, "no", "x.dmg");
        Assert.Equal(ImageErrorId.DestinationNotFound, Assert.Throws<ImageException>(() => new AtomicFile(deep, overwrite: false)).Id);
        Directory.CreateDirectory(Path.Combine(_folder, "bundle"));
        Assert.Equal(
            ImageErrorId.DestinationExists,
                Assert.Throws<ImageException>(() => new AtomicFile(Path.Combine(_folder, "bundle"), overwrite: true)).Id);
    }

    [Fact]
    public void What_another_program_calls_partial_is_refused_and_one_in_use_too()
    {
        File.WriteAllText(Target + ".partial", "a download of somebody else's");
        ImageException refusal = Assert.Throws<ImageException>(() => new AtomicFile(Target, overwrite: true));
        Assert.Equal((ImageErrorId.DestinationExists, Target + ".partial"), (refusal.Id, refusal.Path));
        Assert.Equal("a download of somebody else's", File.ReadAllText(Target + ".partial"));
        File.Delete(Target + ".partial");
        using (var file = new AtomicFile(Target, overwrite: false))
        {
            Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => new AtomicFile(Target, overwrite: false)).Id);
            file.Storage.Write(0, "new"u8);
            file.Commit();
        }

        Assert.Equal("new", File.ReadAllText(Target));
    }

    [Fact]
    public void A_partial_link_is_not_followed()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string victim = Path.Combine(_folder, "victim");
        File.WriteAllText(victim, "precious");
        File.CreateSymbolicLink(Target + ".partial", victim);
        using (var file = new AtomicFile(Target, overwrite: false))
        {
            file.Storage.Write(0, "new"u8);
            file.Commit();
        }

        Assert.Equal("precious", File.ReadAllText(victim));
        Assert.Null(File.ResolveLinkTarget(Target, false));
    }

    [Fact]
    public void The_host_renames_without_replacing_and_exchanges()
    {
        Require.That(!OperatingSystem.IsWindows(), Require.UnixOnly);
        string a = Path.Combine(_folder, "a"), b = Path.Combine(_folder, "b");
        File.WriteAllText(a, "a");
        File.WriteAllText(b, "b");
        Assert.Equal(FileSystemCalls.RenameOutcome.Exists, FileSystemCalls.RenameNoReplace(a, b));
        Assert.Equal(FileSystemCalls.RenameOutcome.Done, FileSystemCalls.Exchange(a, b));
        Assert.Equal("b", File.ReadAllText(a));
        FileSystemCalls.FlushFolder(_folder);
    }
}

public sealed class AtomicFolderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-").FullName;

    private string Target => Path.Combine(_folder, "image.sparsebundle");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Leaves_nothing_when_it_is_cancelled_at_the_last_moment()
    {
        Fill(Target, "old");
        using (var folder = new AtomicFolder(Target, overwrite: true))
            Assert.Throws<OperationCanceledException>(() => folder.Commit(new CancellationToken(true)));
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal("old", ContentOf(Target));
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, true)]
    [InlineData(true, false)]
    public void Appears_with_its_commit_only(bool replacing, bool mayExchange)
    {
        if (replacing) Fill(Target, "old");
        using (var folder = new AtomicFolder(Target + "/", replacing) { MayExchange = mayExchange })
        {
            Fill(folder.PartialPath, "new");
            Assert.Equal(replacing ? "old" : null, ContentOf(Target));
            folder.Commit();
        }

        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal(["content"], Directory.GetFileSystemEntries(Target).Select(Path.GetFileName));
        Assert.Equal("new", ContentOf(Target));
    }

    [Fact]
    public void Leaves_nothing_without_commit()
    {
        Fill(Target, "old");
        using (var folder = new AtomicFolder(Target, overwrite: true)) Fill(folder.PartialPath, "new");
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal("old", ContentOf(Target));
    }

    [Fact]
    public void Never_replaces_unasked()
    {
        using (var folder = new AtomicFolder(Target, overwrite: false))
        {
            Fill(folder.PartialPath, "new");
            Directory.CreateDirectory(Target); // empty: a plain rename would replace it
            Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => folder.Commit()).Id);
        }

        Assert.Null(ContentOf(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(_folder));
        Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => new AtomicFolder(Target, overwrite: false)).Id);
        File.WriteAllText(Path.Combine(_folder, "file"), "x");
        Assert.Equal(
            ImageErrorId.DestinationExists,
                Assert.Throws<ImageException>(() => new AtomicFolder(Path.Combine(_folder, "file"), overwrite: true)).Id);
    }

    [Fact]
    public void Replaces_a_stale_partial_folder_but_not_one_in_use()
    {
        Fill(Target + ".partial", "left by a killed process");
        File.WriteAllText(Path.Combine(Target + ".partial", ".lock"), "of another program");
        Assert.Equal(
            ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => new AtomicFolder(Target, overwrite: true)).Id);
        Assert.NotNull(ContentOf(Target + ".partial"));
        File.WriteAllBytes(Path.Combine(Target + ".partial", ".lock"), PartialFolder.Mark.ToArray());
        using var folder = new AtomicFolder(Target, overwrite: false);
        Assert.Equal(ImageErrorId.ImageInUse, Assert.Throws<ImageException>(() => new AtomicFolder(Target, overwrite: false)).Id);
        Assert.Null(ContentOf(folder.PartialPath));
    }

    [Fact]
    public void Puts_back_a_bundle_that_was_being_replaced()
    {
        Fill(Target + ".replaced", "old");
        Fill(Target + ".partial", "new");
        Assert.Equal(ImageErrorId.DestinationExists, Assert.Throws<ImageException>(() => new AtomicFolder(Target, overwrite: false)).Id);
        Assert.Equal("old", ContentOf(Target));
        Assert.False(AtomicFolder.Recover(Target));
    }

    private static void Fill(string folder, string content)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "content"), content);
    }

    private static string? ContentOf(string folder)
    {
        string path = Path.Combine(folder, "content");
        return File.Exists(path) ? File.ReadAllText(path) : null;
    }
}
