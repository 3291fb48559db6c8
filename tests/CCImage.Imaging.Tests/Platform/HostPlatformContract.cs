using System.Text;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;
using Microsoft.Win32.SafeHandles;

namespace CCImage.Tests.Platform;

/// <summary>What every platform promises, at every place that this machine has.</summary>
public sealed class HostPlatformContract(HostPlaces places) : IClassFixture<HostPlaces>
{
    [PlaceFact(HostPlaces.Memory)]
    public void Is_tried_in_memory() => Assert.Equal("tmpfs", places[HostPlaces.Memory].FileSystemType);

    [PlaceFact(HostPlaces.Ext4)]
    public void Is_tried_on_ext4() => Assert.Equal("ext4", places[HostPlaces.Ext4].FileSystemType);

    [PlaceFact(HostPlaces.Fuse)]
    public void Is_tried_on_FUSE() => Assert.Equal("fuse.ext4", places[HostPlaces.Fuse].FileSystemType);

    [PlaceFact(HostPlaces.Fat)]
    public void Is_tried_on_FAT_whose_files_end_at_4_GiB()
    {
        HostPlace place = places[HostPlaces.Fat];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        using SafeFileHandle file = folder.CreateFile("large");
        Assert.Equal(place.MaximumFileSize, place.Platform.GetVolume(place.Folder).MaximumFileSize);
        Assert.Throws<ArgumentOutOfRangeException>(() => RandomAccess.SetLength(file, uint.MaxValue + 1L)); // the runtime's name for EFBIG
    }

    // As from a folder that a Mac's firmlink leads to, .. does not lead back to the folder above from a volume that was unmounted
    // meanwhile.
    [PlaceFact(HostPlaces.Ext4)]
    public void The_way_back_out_of_a_volume_is_kept()
    {
        using var above = new TemporaryFolder();
        string mounted = Directory.CreateDirectory(above["mounted"]).FullName, deep = places[HostPlaces.Ext4].Folder;
        Oracle.RunForBytes("mount", "--bind", deep, mounted);
        try
        {
            using var path = new HostPath(HostPlatform.Current.OpenDirectory(above.Path));
            HostIdentity start = path.Current.Stat.Identity;
            path.Enter("mounted");
            for (int i = 0; i < 300; i++)
            {
                path.Current.CreateDirectory("a");
                path.Enter("a");
            }

            Oracle.RunForBytes("umount", "--lazy", mounted);
            while (path.Depth > 0) path.Leave();
            Assert.Equal(start, path.Current.Stat.Identity);
        }
        finally
        {
            Oracle.Run("umount", mounted);
        }
    }

    [Theory]
    [Places]
    public void A_path_lies_on_a_volume_that_a_path_to_come_lies_on_too(string name)
    {
        HostPlace place = places[name];
        HostVolume volume = place.Platform.GetVolume(place.Folder);
        Assert.True(
            place.Folder.StartsWith(volume.MountPoint, StringComparison.OrdinalIgnoreCase) || OperatingSystem.IsMacOS(), volume.MountPoint);
        if (place.FileSystemType is not null) Assert.Equal(place.FileSystemType, volume.FileSystemType);
        Assert.InRange(volume.FreeBytes, 1, volume.CapacityBytes);
        Assert.Equal((false, null, false), (volume.IsNetwork, volume.Protocol, volume.IsReadOnly));
        Assert.Equal(place.MaximumFileSize, volume.MaximumFileSize);
        Assert.Equal(place.Platform.GetStat(place.Folder).Identity.Device, volume.DeviceId);
        if (place.Platform is not WindowsPlatform)
            Assert.Equal(volume.MountPoint, place.Platform.GetVolume(Path.Combine(place.Folder, "not", "yet")).MountPoint);
        if (volume.IsCaseSensitive is not bool isCaseSensitive || place.Platform is WindowsPlatform) return;
        File.WriteAllText(Path.Combine(place.Folder, "a"), "");
        Assert.Equal(isCaseSensitive, !File.Exists(Path.Combine(place.Folder, "A")));
    }

    [Theory]
    [Places]
    public void What_is_made_is_listed_and_is_what_stat_says(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        string[] expected = ["empty", "file", "folder", "ünï — 日本"];
        using (SafeFileHandle file = folder.CreateFile("file")) RandomAccess.Write(file, "content"u8, 0);
        folder.CreateFile("empty").Dispose();
        folder.CreateFile("ünï — 日本").Dispose();
        folder.CreateDirectory("folder");
        var names = new List<string>();
        var undecodable = new List<string>();
        folder.ReadNames(names, undecodable);
        Assert.Equal(expected, names.Select(n => n.Normalize()).Order(StringComparer.Ordinal));
        Assert.Empty(undecodable);

        HostStat stat = folder.GetStat("file");
        Assert.Equal((EntryKind.File, 7L, 1u, false), (stat.Kind, stat.Size, stat.LinkCount, stat.IsDataless));
        Assert.Equal(EntryKind.Directory, folder.GetStat("folder").Kind);
        Assert.NotEqual(stat.Identity, folder.GetStat("empty").Identity);
        Assert.Equal(folder.Stat.Identity.Device, stat.Identity.Device);
        Assert.Equal(stat.Identity, place.Platform.GetStat(Path.Combine(place.Folder, "file")).Identity);
        Assert.InRange(stat.ModifyTime.ToDateTimeOffset(), DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
        // for this user alone, until it is given away
        if (place.IsPosix) Assert.Equal((0x180u, 0x1C0u), (stat.Mode, folder.GetStat("folder").Mode));
        Assert.True(folder.CanRead("file", stat));
        using SafeFileHandle opened = folder.OpenFile("file", out HostStat found);
        Assert.Equal(stat.Identity, found.Identity);
        Assert.Equal(HostFailure.NotFound, Refusal(() => folder.GetStat("none")));
        Assert.Equal(HostFailure.NotFound, Refusal(() => folder.OpenFile("none", out _)));
        Assert.Equal(HostFailure.NotFound, Refusal(() => folder.OpenDirectory("none")));
    }

    [Theory]
    [Places]
    public void Nothing_that_is_there_is_overwritten_and_no_name_leads_out(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        using (SafeFileHandle file = folder.CreateFile("file")) RandomAccess.Write(file, "old"u8, 0);
        folder.CreateDirectory("folder");
        foreach (string taken in (string[])["file", "folder"])
        {
            Assert.Equal(HostFailure.AlreadyExists, Refusal(() => folder.CreateFile(taken)));
            Assert.Equal(HostFailure.AlreadyExists, Refusal(() => folder.CreateDirectory(taken)));
        }

        Assert.Equal("old", File.ReadAllText(Path.Combine(place.Folder, "file")));
        Assert.Equal(HostFailure.NotADirectory, Refusal(() => folder.OpenDirectory("file")));
        foreach (string bad in (string[])["", "..", "a/b", "/etc", "a\0b", "\ud800"])
        {
            Assert.NotNull(place.Platform.ObjectionToName(bad));
            Assert.Equal(HostFailure.BadName, Refusal(() => folder.CreateFile(bad)));
            Assert.Equal(HostFailure.BadName, Refusal(() => folder.CreateDirectory(bad)));
            Assert.Equal(HostFailure.BadName, Refusal(() => folder.OpenDirectory(bad)));
            Assert.Equal(HostFailure.BadName, Refusal(() => folder.Remove(bad)));
            Assert.Equal(HostFailure.BadName, Refusal(() => folder.Rename("file", bad)));
        }

        Assert.Null(place.Platform.ObjectionToName("fine — 日本"));

        // Some program behind FUSE says "not found".
        HostFailure tooLong = Refusal(() => folder.CreateFile(new string('x', 300)));
        if (name != HostPlaces.Fuse) Assert.Equal(HostFailure.BadName, tooLong);
    }

    [Theory]
    [Places]
    public void Entries_are_renamed_over_others_and_removed(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        foreach (string entry in (string[])["new", "old"])
        {
            using SafeFileHandle file = folder.CreateFile(entry);
            RandomAccess.Write(file, Encoding.UTF8.GetBytes(entry), 0);
        }

        folder.Rename("new", "old");
        Assert.Equal("new", File.ReadAllText(Path.Combine(place.Folder, "old")));
        folder.CreateDirectory("folder");
        Assert.ThrowsAny<HostException>(() => folder.Remove("folder"));
        folder.Remove("old");

        // FUSE hides a removed file for the moment until it has heard that nobody has it open.
        Assert.Equal(["folder"], Directory.EnumerateFileSystemEntries(place.Folder).Select(path => Path.GetFileName(path)!)
            .Where(n => !n.StartsWith(".fuse_hidden", StringComparison.Ordinal)));
    }

    [Theory]
    [Places]
    public void One_goes_down_and_up_again_to_the_same_folder(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        folder.CreateDirectory("a");
        using HostDirectory inner = folder.OpenDirectory("a");
        Assert.Equal(folder.GetStat("a").Identity, inner.Stat.Identity);
        inner.CreateFile("file").Dispose();
        Assert.True(File.Exists(Path.Combine(place.Folder, "a", "file")));
        using (folder.OpenFile("a/file", out HostStat stat)) Assert.Equal(inner.GetStat("file").Identity, stat.Identity);
        using (HostDirectory parent = inner.OpenParent(folder.Stat.Identity)) Assert.Equal(folder.Stat.Identity, parent.Stat.Identity);
        Assert.Equal(HostFailure.Replaced, Refusal(() => inner.OpenParent(inner.Stat.Identity)));
    }

    [Theory]
    [Places]
    public void Times_are_set_and_one_that_is_not_known_stays(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        DateTimeOffset when = new DateTimeOffset(2011, 2, 28, 23, 59, 58, TimeSpan.Zero).AddTicks(TimeSpan.TicksPerSecond * 3 / 4);
        foreach (bool byHandle in (bool[])[true, false])
        {
            string entry = byHandle ? "open" : "named";
            using (SafeFileHandle file = folder.CreateFile(entry))
                folder.SetTimes(new(entry, byHandle ? file : null),
                    new() { ModifyTime = UnixTime.From(when), AccessTime = UnixTime.None, BirthTime = UnixTime.None });
            DateTimeOffset changed = folder.GetStat(entry).ModifyTime.ToDateTimeOffset();
            Assert.InRange(when - changed, TimeSpan.Zero, place.TimeStep);
            folder.SetTimes(new(entry), new() { ModifyTime = UnixTime.None, AccessTime = UnixTime.None, BirthTime = UnixTime.None });
            Assert.Equal(changed, folder.GetStat(entry).ModifyTime.ToDateTimeOffset());
        }
    }

    [Theory]
    [Places]
    public void Links_are_made_read_and_never_followed(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        if (!place.HasLinks)
        {
            if (!OperatingSystem.IsWindows()) Assert.ThrowsAny<HostException>(() => folder.CreateSymbolicLink("link", "target"));
            return;
        }

        folder.CreateDirectory("folder");
        folder.CreateSymbolicLink("to folder", "folder");
        folder.CreateSymbolicLink("to nothing", "nö/where");
        Assert.Equal(("folder", "nö/where"), (folder.ReadLink("to folder"), folder.ReadLink("to nothing")));
        Assert.Equal(EntryKind.SymbolicLink, folder.GetStat("to nothing").Kind);
        Assert.Contains(Refusal(() => folder.OpenDirectory("to folder")), new[] { HostFailure.SymbolicLink, HostFailure.NotADirectory });
        Assert.Equal(HostFailure.SymbolicLink, Refusal(() => folder.OpenFile("to nothing", out _)));
        Assert.Equal(HostFailure.AlreadyExists, Refusal(() => folder.CreateSymbolicLink("to nothing", "x")));
        folder.Remove("to folder");
        Assert.True(Directory.Exists(Path.Combine(place.Folder, "folder")));

        // The user's own path to begin with may be one.
        folder.CreateSymbolicLink("way", "folder");
        using HostDirectory followed = place.Platform.OpenDirectory(Path.Combine(place.Folder, "way"));
        Assert.Equal(EntryKind.Directory, followed.Stat.Kind);
    }

    [Theory]
    [Places(IsPosix = true)]
    public void Further_names_modes_and_pipes(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        folder.CreateFile("file").Dispose();
        folder.CreateDirectory("sub");
        using (HostDirectory sub = folder.OpenDirectory("sub"))
        {
            sub.CreateLink("twin", folder, "file");
            Assert.Equal((folder.GetStat("file").Identity, 2u), (sub.GetStat("twin").Identity, sub.GetStat("twin").LinkCount));
            Assert.Equal(HostFailure.AlreadyExists, Refusal(() => sub.CreateLink("twin", folder, "file")));
        }

        folder.SetMode(new("file"), 0x1A0);
        Assert.Equal(0x1A0u, folder.GetStat("file").Mode);
        HostStat stat = folder.GetStat("file");
        folder.SetOwner(new("file"), stat.UserId, stat.GroupId);
        folder.CreateNode("pipe", new() { Kind = EntryKind.Fifo });
        Assert.Equal(EntryKind.Fifo, folder.GetStat("pipe").Kind);
        using (folder.OpenFile("pipe", out HostStat opened)) Assert.Equal(EntryKind.Fifo, opened.Kind); // nobody waits for its other end
        Assert.DoesNotContain(folder.ReadAttributes(new("pipe"), folder.GetStat("pipe")).Attributes, IsOurs);
    }

    [Theory]
    [Places]
    public void Attributes_come_back_with_the_values_that_went_in(string name)
    {
        HostPlace place = places[name];
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        folder.CreateFile("file").Dispose();
        folder.CreateDirectory("sub");
        Assert.DoesNotContain(folder.ReadAttributes(new("file"), folder.GetStat("file")).Attributes, IsOurs);
        if (!place.HasAttributes)
        {
            Assert.Equal(HostFailure.NotSupported, Refusal(() => folder.SetAttribute(new("file"), "com.example.a", [1])));
            return;
        }

        // ext4 keeps of one file's attributes no more than a block has room for.
        byte[] large = [.. Enumerable.Range(0, 3500).Select(i => (byte)(i * 7 % 251))];
        byte[] finderInfo = [.. "TEXTttxt"u8, .. new byte[24]];
        foreach (string entry in (string[])["file", "sub"])
        {
            folder.SetAttribute(new(entry), "com.example.b", []);
            folder.SetAttribute(new(entry), "com.example.ä", "value"u8);
            folder.SetAttribute(new(entry), HostAttributes.FinderInfoName, finderInfo);
            HostAttributes found = folder.ReadAttributes(new(entry), folder.GetStat(entry));
            Assert.Equal(["com.example.b", "com.example.ä"], found.Attributes.Where(IsOurs).Select(a => a.Name.Normalize()));
            Assert.Equal(["", "value"], found.Attributes.Where(IsOurs).Select(a => Encoding.UTF8.GetString(a.Value!)));
            Assert.Equal(finderInfo, found.FinderInfo);
            Assert.Equal("value"u8.ToArray(), folder.ReadAttribute(new(entry), "com.example.ä"));
        }

        folder.CreateFile("large").Dispose();
        folder.SetAttribute(new("large"), "com.example.large", large);
        Assert.Equal(large, folder.ReadAttribute(new("large"), "com.example.large"));
        folder.CreateFile("fork").Dispose();
        folder.WriteResourceFork(new("fork"), 0, large, large.Length);
        Assert.Equal(large.Length, folder.ReadAttributes(new("fork"), folder.GetStat("fork")).ResourceForkSize);
        using HostFork fork = folder.OpenResourceFork("fork");
        byte[] piece = new byte[100];
        Assert.Equal((large.Length, 100), ((int)fork.Length, fork.Read(50, piece)));
        Assert.Equal(large[50..150], piece);
        Assert.ThrowsAny<HostException>(() => folder.ReadAttribute(new("file"), "com.example.none"));
    }

    [Theory]
    [Places]
    public void Holes_are_read_as_zeros_and_known_where_the_place_tells_them(string name)
    {
        HostPlace place = places[name];
        const int unit = 1 << 20;
        using HostDirectory folder = place.Platform.OpenDirectory(place.Folder);
        using (SafeFileHandle file = folder.CreateFile("sparse"))
        {
            RandomAccess.Write(file, new byte[] { 1 }, 2 * unit);
            RandomAccess.SetLength(file, 4 * unit);
            RandomAccess.FlushToDisk(file);
        }

        using var storage = new HostFileStorage(folder.OpenFile("sparse", out _), "sparse");
        Assert.Equal(4 * unit, storage.Length);
        List<StorageExtent> extents = [.. storage.GetExtents(0, storage.Length)];
        Assert.Equal(storage.Length, extents.Sum(e => e.Length));
        Assert.Contains(extents, e => e.Kind == ExtentKind.Data && e.Offset <= 2 * unit && e.End > 2 * unit);
        if (place.HasHoles) Assert.InRange(extents.Where(e => e.Kind == ExtentKind.Data).Sum(e => e.Length), 1, unit);
        byte[] read = new byte[4 * unit];
        storage.Read(0, read);
        Assert.Equal(2 * unit, Array.IndexOf(read, (byte)1));
        Assert.Equal(1, read.Sum(b => b));
    }

    private static bool IsOurs(ExtendedAttribute attribute) => attribute.Name.StartsWith("com.example.", StringComparison.Ordinal);

    private static HostFailure Refusal(Func<object> action)
    {
        HostException e = Assert.Throws<HostException>(() => (action() as IDisposable)?.Dispose());
        Assert.NotEmpty(e.Message);
        return e.Failure;
    }

    private static HostFailure Refusal(Action action) => Refusal(() =>
    {
        action();
        return 0;
    });
}
