using System.Security.Cryptography;
using System.Text;
using CCImage.Checksums;
using CCImage.Diagnostics;
using CCImage.FileSystems;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Fuzzing;

/// <summary>Volumes that get another size: one that is sound stays so, and keeps its files.</summary>
/// <param name="volumes">The target of such volumes: what it mends is mended.</param>
internal sealed class ResizeTarget(VolumeTarget volumes) : FuzzTarget
{
    private const int MostEntries = 500, Unit = 4096;

    /// <inheritdoc/>
    public override bool ChangesLength => false;

    /// <inheritdoc/>
    public override IEnumerable<(int At, byte[] Bytes)> Mend(byte[] input, IReadOnlyList<(int At, byte[] Bytes)> changes) =>
        volumes.Mend(input, changes);

    /// <inheritdoc/>
    public override (int At, int Length)[] Run(byte[] input)
    {
        var read = new RecordingMemory(input);
        if (Look(read) is not { } before) return read.Reads;

        // The length is the input's own, so that it is the same when it is run again.
        uint choice = Crc32.Of(input);
        using var window = new MemoryStorage((int)(choice % 4 == 0 ? input.Length + (choice / 4 % 8_000 * Unit) : input.Length));
        window.Write(0, input);
        using (FileSystemVolume volume = VolumeDetection.Open(window, out _))
        {
            if (volume.OpenResizer(CancellationToken.None) is not { } resizer) return read.Reads;
            long length = window.Length > input.Length ? window.Length
                : resizer.LeastLength + (choice / 4 % 64 * ((input.Length - resizer.LeastLength) / 64));
            VolumeResizePlan? plan = null;
            Expect(() => plan = resizer.PlanFor(length), ImageErrorId.CapacityTooSmall);
            if (plan is not { Obstacle: null }) return read.Reads;
            plan.Write(window, static _ => { }, CancellationToken.None);
            using var resized = new WindowStorage(window, 0, length);
            if (Look(resized) is not { } after || after != before)
                throw new ContradictionException($"not what it was after a resize from {input.Length} to {length} bytes");
        }

        return read.Reads;
    }

    // Null for what is not a sound volume.
    private static string? Look(BlockStorage window)
    {
        using FileSystemVolume volume = VolumeDetection.Open(window, out ImageException? fault);
        if (fault is not null || volume.Kind == VolumeKind.Unknown) return null;
        var findings = new ImageFindings("volume");
        volume.Check(findings, CancellationToken.None);
        if (!findings.IsSound) return null;
        var files = new StringBuilder(volume.Name);
        if (volume.ReadTree() is not { } tree) return files.ToString();
        using (tree)
        {
            foreach (SourceEntry entry in tree.Enumerate().Take(MostEntries))
            {
                files.Append(entry.Name).Append(entry.Size);
                if (entry.Kind != EntryKind.File || entry.Size == 0) continue;
                using BlockStorage content = tree.OpenFork(entry, ForkKind.Data);
                byte[] bytes = new byte[(int)Math.Min(content.Length, 1 << 20)];
                content.Read(0, bytes);
                files.Append(Convert.ToHexString(SHA256.HashData(bytes)));
            }
        }

        return files.ToString();
    }
}
