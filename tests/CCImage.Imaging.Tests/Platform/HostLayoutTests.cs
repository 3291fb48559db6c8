using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Platform;
using CCImage.Sources;

namespace CCImage.Tests.Platform;

/// <summary>Structures that go to system calls, against the headers of the systems (64-bit, x86-64 and arm64).</summary>
public class HostLayoutTests
{
    /// <summary>linux/stat.h, struct statx.</summary>
    [Fact]
    public void Linux_statx()
    {
        Assert.Equal(0x100, Marshal.SizeOf<LinuxStat>());
        Assert.Equal(0x100, Unsafe.SizeOf<LinuxStat>());
        AssertOffsets<LinuxStat>(
            (nameof(LinuxStat.Mask), 0x00), (nameof(LinuxStat.BlockSize), 0x04), (nameof(LinuxStat.Attributes), 0x08),
            (nameof(LinuxStat.LinkCount), 0x10),
            (nameof(LinuxStat.UserId), 0x14), (nameof(LinuxStat.GroupId), 0x18), (nameof(LinuxStat.Mode), 0x1C),
            (nameof(LinuxStat.Inode), 0x20),
            (nameof(LinuxStat.Size), 0x28), (nameof(LinuxStat.Blocks), 0x30), (nameof(LinuxStat.AttributesMask), 0x38),
            (nameof(LinuxStat.AccessTime), 0x40),
            (nameof(LinuxStat.BirthTime), 0x50), (nameof(LinuxStat.ChangeTime), 0x60), (nameof(LinuxStat.ModifyTime), 0x70),
            (nameof(LinuxStat.NodeMajor), 0x80),
            (nameof(LinuxStat.NodeMinor), 0x84), (nameof(LinuxStat.DeviceMajor), 0x88), (nameof(LinuxStat.DeviceMinor), 0x8C),
            (nameof(LinuxStat.MountId), 0x90));
    }

    /// <summary>macOS SDK, sys/stat.h, __DARWIN_STRUCT_STAT64.</summary>
    [Fact]
    public void Mac_stat()
    {
        Assert.Equal(144, Unsafe.SizeOf<MacStat>());
        AssertOffsets<MacStat>(
            (nameof(MacStat.Device), 0), (nameof(MacStat.Mode), 4), (nameof(MacStat.LinkCount), 6), (nameof(MacStat.Inode), 8),
            (nameof(MacStat.UserId), 16),
            (nameof(MacStat.GroupId), 20), (nameof(MacStat.NodeDevice), 24), (nameof(MacStat.AccessTime), 32),
            (nameof(MacStat.ModifyTime), 48),
            (nameof(MacStat.ChangeTime), 64), (nameof(MacStat.BirthTime), 80), (nameof(MacStat.Size), 96), (nameof(MacStat.Blocks), 104),
            (nameof(MacStat.BlockSize), 112), (nameof(MacStat.Flags), 116), (nameof(MacStat.Generation), 120),
            (nameof(MacStat.Spare1), 128));
    }

    /// <summary>macOS SDK, sys/mount.h, __DARWIN_STRUCT_STATFS64: MFSTYPENAMELEN 16, MAXPATHLEN 1024.</summary>
    [Fact]
    public void Mac_statfs()
    {
        Assert.Equal(2168, Unsafe.SizeOf<MacVolumeStat>());
        AssertOffsets<MacVolumeStat>(
            (nameof(MacVolumeStat.BlockSize), 0), (nameof(MacVolumeStat.BlockCount), 8), (nameof(MacVolumeStat.BlocksFree), 16),
            (nameof(MacVolumeStat.BlocksAvailable), 24), (nameof(MacVolumeStat.FileSystemId0), 48), (nameof(MacVolumeStat.Owner), 56),
            (nameof(MacVolumeStat.Type), 60), (nameof(MacVolumeStat.Flags), 64), (nameof(MacVolumeStat.Subtype), 68),
            (nameof(MacVolumeStat.TypeName), 72),
            (nameof(MacVolumeStat.MountedOnName), 88), (nameof(MacVolumeStat.MountedFromName), 1112),
            (nameof(MacVolumeStat.ExtendedFlags), 2136));
    }

    [Fact]
    public void Mac_statfs_texts_end_at_their_zero()
    {
        var volume = default(MacVolumeStat);
        "apfs"u8.CopyTo(volume.TypeName);
        "/System/Volumes/Data"u8.CopyTo(volume.MountedOnName);
        "/dev/disk3s5"u8.CopyTo(volume.MountedFromName);
        Assert.Equal(("apfs", "/System/Volumes/Data", "/dev/disk3s5"), (volume.FileSystemType, volume.MountPoint, volume.MountedFrom));
    }

    [Fact]
    public void Mac_stat_becomes_the_model()
    {
        var stat = new MacStat
        {
            Device = 0x01000004, Mode = 0x21B6, LinkCount = 1, Inode = 7, NodeDevice = 0x03000002, Flags = 0x20 | 0x8000,
            ModifyTime = new(-1, 999_999_999), BirthTime = new(5, 6),
        };
        HostStat model = stat.ToHostStat();
        Assert.Equal(EntryKind.CharacterDevice, model.Kind);
        Assert.Equal((0x1B6u, 3u, 2u), (model.Mode, model.DeviceMajor, model.DeviceMinor));
        Assert.Equal(0x8000u, model.Flags); // what is read of a compressed file is not compressed
        Assert.Equal((-1L, 5_000_000_006L), (model.ModifyTime.Nanoseconds, model.BirthTime.Nanoseconds));
        Assert.False(model.IsDataless);
        // where it lies is not what it is
        Assert.Equal(0x8000u, (stat with { Flags = 0x8000 | 0x40000000 | 0x00800000 }).ToHostStat().Flags);
        Assert.True((stat with { Flags = 0x40000000 }).ToHostStat().IsDataless); // SF_DATALESS
    }

    /// <summary>macOS SDK, sys/attr.h: struct attrlist, and the answer to one time, packed to 4 bytes behind its length
    /// (getattrlist(2)).</summary>
    [Fact]
    public void Mac_attribute_lists()
    {
        Assert.Equal(24, Unsafe.SizeOf<MacAttributeList>());
        AssertOffsets<MacAttributeList>(
            (nameof(MacAttributeList.Count), 0), (nameof(MacAttributeList.Reserved), 2), (nameof(MacAttributeList.Common), 4),
            (nameof(MacAttributeList.Volume), 8),
            (nameof(MacAttributeList.Directory), 12), (nameof(MacAttributeList.File), 16), (nameof(MacAttributeList.Fork), 20));
        Assert.Equal(5, new MacAttributeList().Count);
        Assert.Equal(20, Unsafe.SizeOf<MacTimeAnswer>());
        AssertOffsets<MacTimeAnswer>((nameof(MacTimeAnswer.Length), 0), (nameof(MacTimeAnswer.Time), 4));
    }

    /// <summary>macOS SDK, sys/kauth.h: struct kauth_filesec, as acl_copy_ext(3) writes it. Its reader takes the number of entries at its
    /// word.</summary>
    [Fact]
    public void A_Mac_access_list_has_the_entries_that_it_counts()
    {
        byte[] list = new byte[44 + (2 * 24)];
        Set(list, 0, 0x012CC16D);
        Set(list, 36, 2);
        Assert.True(MacAccessList.IsWhole(list));
        Assert.True(MacAccessList.IsWhole([.. list, 0]));
        Assert.False(MacAccessList.IsWhole(list.AsSpan(0, list.Length - 1)));
        Assert.False(MacAccessList.IsWhole(list.AsSpan(0, 43)));
        Assert.False(MacAccessList.IsWhole([]));
        Set(list, 36, 0xFFFFFFFF); // KAUTH_FILESEC_NOACL
        Assert.False(MacAccessList.IsWhole(list));
        Set(list, 36, 129);
        Assert.False(MacAccessList.IsWhole(new byte[8192].Select((_, i) => i < list.Length ? list[i] : (byte)0).ToArray()));
        Set(list, 36, 0);
        Assert.True(MacAccessList.IsWhole(list.AsSpan(0, 44)));
        Set(list, 0, 0x6DC12C01);
        Assert.False(MacAccessList.IsWhole(list));

        static void Set(byte[] bytes, int offset, uint value) =>
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(offset), value);
    }

    /// <summary>macOS SDK, sys/stat.h: what chflags(2) takes from root; the other flags are the system's own.</summary>
    [Fact]
    public void Mac_flags_that_can_be_set() => Assert.Equal(0x0017FF1Fu, MacStat.SettableFlags);

    /// <summary>macOS SDK, sys/fcntl.h and sys/attr.h: the numbers of the calls that take a folder and a name.</summary>
    [Fact]
    public void Mac_numbers_of_calls()
    {
        Assert.Equal((-2, 0x20, 0x200, 0x400), (MacCalls.CurrentFolder, MacCalls.AtNoFollow, MacCalls.AtRealDevice, MacCalls.AtFileOnly));
        Assert.Equal((0x200u, 0x2000u, 0x40000u, 1u),
            (MacAttributeList.CreationTime, MacAttributeList.BackupTime, MacAttributeList.Flags, MacAttributeList.NoFollow));
        Assert.Equal(0x1100000, MacDirectory.OpenFolderFlags); // O_RDONLY | O_DIRECTORY | O_CLOEXEC
        Assert.Equal((0x100, 0xFFFFu), (MacAccessList.Extended, MacStat.UserFlags));
    }

    /// <summary>macOS SDK, sys/errno.h: the numbers that mean something else than on Linux, and some that are the same.</summary>
    [Fact]
    public void Mac_error_numbers()
    {
        (int Error, HostFailure Failure)[] expected =
        [
            (1, HostFailure.AccessDenied), // EPERM
            (2, HostFailure.NotFound), // ENOENT
            (13, HostFailure.AccessDenied), // EACCES
            (17, HostFailure.AlreadyExists), // EEXIST
            (20, HostFailure.NotADirectory), // ENOTDIR
            (27, HostFailure.FileTooLarge), // EFBIG
            (28, HostFailure.NoSpace), // ENOSPC
            (30, HostFailure.ReadOnly), // EROFS
            (45, HostFailure.NotSupported), // ENOTSUP
            (62, HostFailure.SymbolicLink), // ELOOP
            (63, HostFailure.BadName), // ENAMETOOLONG
            (69, HostFailure.NoSpace), // EDQUOT
            (78, HostFailure.NotSupported), // ENOSYS
            (84, HostFailure.Other), // EOVERFLOW
            (92, HostFailure.BadName), // EILSEQ
            (102, HostFailure.NotSupported), // EOPNOTSUPP
        ];
        Assert.Equal(expected, expected.Select(e => (e.Error, MacDirectory.FailureOf(e.Error).Failure)));
    }

    /// <summary>sys/time.h: timespec, the same on both.</summary>
    [Fact]
    public void Timespec() => Assert.Equal(16, Unsafe.SizeOf<UnixTimeSpec>());

    /// <summary>sys/sysmacros.h, gnu_dev_makedev: values of glibc's own function.</summary>
    [Theory]
    [InlineData(0x8u, 0x1u, 0x801ul)]
    [InlineData(0x103u, 0x12Cu, 0x11032Cul)]
    [InlineData(0x12345u, 0x6789Au, 0x120006783459Aul)]
    public void Linux_device_numbers(uint major, uint minor, ulong expected) => Assert.Equal(expected, LinuxCalls.MakeDevice(major, minor));

    private static void AssertOffsets<T>(params (string Field, int Offset)[] expected) =>
        Assert.Equal(expected, expected.Select(e => (e.Field, (int)Marshal.OffsetOf<T>(e.Field))));
}
