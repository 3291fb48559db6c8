using System.Reflection;
using CCImage.Platform;
using Xunit.Sdk;
using Xunit.v3;

namespace CCImage.Tests.Platform;

/// <summary>A place to try a platform at.</summary>
internal sealed record HostPlace
{
    public required IHostPlatform Platform { get; init; }

    /// <summary>A folder to make things in.</summary>
    public required string Folder { get; init; }

    /// <summary>What the place's volume calls itself; null where that depends on the machine.</summary>
    public string? FileSystemType { get; init; }

    /// <summary>Whether there are owners, permissions, FIFOs and hard links.</summary>
    public bool IsPosix { get; init; }

    /// <summary>Whether there are symbolic links.</summary>
    public bool HasLinks { get; init; } = true;

    /// <summary>Whether there are extended attributes.</summary>
    public bool HasAttributes { get; init; } = true;

    /// <summary>Whether the holes of a file are known.</summary>
    public bool HasHoles { get; init; } = true;

    /// <summary>The step in which the time of change is kept.</summary>
    public TimeSpan TimeStep { get; init; } = TimeSpan.FromTicks(1);

    /// <summary>The largest file, where there is a limit.</summary>
    public long? MaximumFileSize { get; init; }
}

/// <summary>The places that this machine has: mounted when the first test asks, and unmounted after the last.</summary>
public sealed class HostPlaces : IDisposable
{
    /// <summary>Where the platform's class of this system, and the portable one, are tried in the temporary folder: on every
    /// system.</summary>
    public const string Temporary = "the temporary folder", Portable = "the portable class";

    /// <summary>Linux' file system in memory.</summary>
    public const string Memory = "tmpfs";

    /// <summary>File systems on a loop device, and by a program.</summary>
    public const string Ext4 = "ext4 on a loop device", Fat = "FAT on a loop device", Fuse = "FUSE";

    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _mounted = [];
    private readonly Dictionary<string, HostPlace> _places = [];
    private int _count;

    /// <summary>All of them.</summary>
    public static IReadOnlyList<string> All { get; } = [Temporary, Portable, Memory, Ext4, Fat, Fuse];

    /// <summary>Why a place is not there; null when it is.</summary>
    public static string? Obstacle(string place) => place switch
    {
        Temporary or Portable => null,
        _ when !OperatingSystem.IsLinux() => "Linux only.",
        Memory => Directory.Exists("/dev/shm") ? null : "There is no /dev/shm.",
        _ when !Environment.IsPrivilegedProcess => "Mounting needs root.",
        Ext4 => Lacks("ext4", "mkfs.ext4"),
        Fat => Lacks("vfat", "mkfs.vfat"),
        _ => Lacks("fuse", "fuse2fs") ?? Lacks("fuse", "mkfs.ext4") ?? (File.Exists("/dev/fuse") ? null : "There is no /dev/fuse."),
    };

    /// <summary>Whether files have owners, modes and several names at a place.</summary>
    /// <param name="place">The place.</param>
    public static bool HasModes(string place) => place is not (Portable or Fat) && !(place == Temporary && OperatingSystem.IsWindows());

    /// <summary>A place that is there, with a new folder of its own.</summary>
    internal HostPlace this[string place]
    {
        get
        {
            if (!_places.TryGetValue(place, out HostPlace? found))
                _places.Add(place, found = Make(place) with { IsPosix = HasModes(place) });
            string folder = Path.Combine(found.Folder, $"test{_count++}");
            Directory.CreateDirectory(folder);
            return found with { Folder = folder };
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (string folder in _mounted) Oracle.Run("umount", folder);
        if (_places.TryGetValue(Memory, out HostPlace? memory)) Directory.Delete(memory.Folder, recursive: true);
        _folder.Dispose();
    }

    private HostPlace Make(string place)
    {
        switch (place)
        {
            case Temporary:
                // HFS+ knows no holes, and a Mac may have it; the time is as fine as the runtime tells it.
                return new()
                {
                    Platform = HostPlatform.Current, Folder = _folder.Path, HasLinks = !OperatingSystem.IsWindows(),
                    HasAttributes = !OperatingSystem.IsWindows(), HasHoles = OperatingSystem.IsLinux(),
                };
            case Portable:
                return new()
                {
                    Platform = new WindowsPlatform(), Folder = _folder.Path, HasLinks = !OperatingSystem.IsWindows(), HasAttributes = false,
                    HasHoles = OperatingSystem.IsLinux(),
                };
            case Memory:
                return new()
                {
                    Platform = HostPlatform.Current, Folder = Directory.CreateDirectory($"/dev/shm/ccimage-{Guid.NewGuid():N}").FullName,
                        FileSystemType = "tmpfs",
                    HasAttributes = Environment.OSVersion.Version >= new Version(6, 6), // a user's: since that version of Linux
                };
            case Ext4:
                return new() { Platform = HostPlatform.Current,
                    Folder = Mount("mkfs.ext4", ["-q", "-F", "-b", "4096"], (image, folder) =>
                    Oracle.Run("mount", "-o", "loop", image, folder)), FileSystemType = "ext4" };
            case Fat:
                return new()
                {
                    Platform = HostPlatform.Current,
                        Folder = Mount("mkfs.vfat", ["-F", "32"], (image, folder) => Oracle.Run("mount", "-o", "loop", image, folder)),
                    FileSystemType = "vfat", HasLinks = false, HasAttributes = false, HasHoles = false, TimeStep = TimeSpan.FromSeconds(2),
                    MaximumFileSize = uint.MaxValue,
                };
            default:
                return new()
                {
                    Platform = HostPlatform.Current,
                        Folder = Mount("mkfs.ext4", ["-q", "-F", "-b", "4096"], (image, folder) => Oracle.Run("fuse2fs", image, folder)),
                        FileSystemType = "fuse.ext4",
                    HasHoles = false, TimeStep = TimeSpan.FromSeconds(1),
                };
        }
    }

    private string Mount(string maker, string[] options, Func<string, string, (int ExitCode, string Output, string Error)> mount)
    {
        string image = _folder[$"image{_count}"], folder = _folder[$"mount{_count++}"];
        Oracle.RunForBytes("truncate", "-s", "48M", image);
        Oracle.RunForBytes(maker, [.. options, image]);
        Directory.CreateDirectory(folder);
        (int exitCode, _, string error) = mount(image, folder);
        Assert.True(exitCode == 0, error);
        _mounted.Add(folder);
        return folder;
    }

    private static string? Lacks(string fileSystem, string tool)
    {
        if (!File.ReadLines("/proc/filesystems").Any(l => l.EndsWith("\t" + fileSystem, StringComparison.Ordinal)))
            return $"This kernel has no {fileSystem}.";
        return Oracle.Find(tool) is null ? $"{tool} is not on the PATH." : null;
    }
}

/// <summary>A test for each place that this machine has.</summary>
public sealed class PlacesAttribute : DataAttribute
{
    /// <summary>Whether only places with owners, modes and several names of a file are meant.</summary>
    public bool IsPosix { get; set; }

    /// <inheritdoc/>
    public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(MethodInfo testMethod, DisposalTracker disposalTracker) =>
        new([.. HostPlaces.All.Where(p => HostPlaces.Obstacle(p) is null && (!IsPosix || HostPlaces.HasModes(p)))
            .Select(p => new TheoryDataRow(p))]);

    /// <inheritdoc/>
    public override bool SupportsDiscoveryEnumeration() => true;
}

/// <summary>A fact that is there so that nobody overlooks a place which is missing: it is skipped with the reason.</summary>
public sealed class PlaceFactAttribute : FactAttribute
{
    /// <summary>Decides at discovery.</summary>
    /// <param name="place">The place.</param>
    public PlaceFactAttribute(string place) => Skip = HostPlaces.Obstacle(place);
}
