using CCImage.Sources;

namespace CCImage.Tests;

public class BackupImageItemTests
{
    [Theory]
    [InlineData(EntryKind.File, 0b111_101_101u, "-rwxr-xr-x")]
    [InlineData(EntryKind.Directory, 0b111_111_111u | 0x200, "drwxrwxrwt")]
    [InlineData(EntryKind.File, 0b111_101_101u | 0x800, "-rwsr-xr-x")]
    [InlineData(EntryKind.File, 0b110_100_100u | 0xC00, "-rwSr-Sr--")]
    [InlineData(EntryKind.SymbolicLink, 0b111_111_111u, "lrwxrwxrwx")]
    [InlineData(EntryKind.Fifo, 0u, "p---------")]
    [InlineData(EntryKind.BlockDevice, 0b110_110_000u, "brw-rw----")]
    public void Modes_are_written_as_ls_does(EntryKind kind, uint mode, string expected) =>
        Assert.Equal(expected, BackupImageItem.FormatMode(kind, mode));

    [Fact]
    public void An_entry_is_described_with_its_place_and_times()
    {
        var root = new SourceEntry { Name = "", Kind = EntryKind.Directory };
        var folder = new SourceEntry { Name = "a", Kind = EntryKind.Directory };
        var file = new SourceEntry { Name = "b:c", Kind = EntryKind.File, Size = 7, ModifyTime = UnixTime.FromSeconds(1_000_000_000),
            ResourceForkSize = 3 };
        root.Add(folder);
        folder.Add(file);

        BackupImageItem item = BackupImageItem.From("/x.dmg", file);

        Assert.Equal("/a/b:c", item.ItemPath);
        Assert.Equal(7, item.SizeBytes);
        Assert.Equal(3, item.ResourceForkSizeBytes);
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(1_000_000_000), item.ModifyTime);
        Assert.Null(item.BirthTime);
        Assert.Equal(0, BackupImageItem.From("/x.dmg", folder).SizeBytes);
    }
}
