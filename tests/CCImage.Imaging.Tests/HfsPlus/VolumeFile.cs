using CCImage.Diagnostics;
using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>A rendered volume in a temporary file, with holes where it holds zeros.</summary>
internal sealed class VolumeFile : IDisposable
{
    private readonly DirectoryInfo _folder;

    private VolumeFile(string? place) =>
        _folder = place is null ? Directory.CreateTempSubdirectory("ccimage-hfs-")
            : Directory.CreateDirectory(System.IO.Path.Combine(place, "ccimage-hfs-" + Guid.NewGuid()));

    public string Path => System.IO.Path.Combine(_folder.FullName, "volume.img");

    public string Folder => _folder.FullName;

    public required HfsPlusPlan Plan { get; init; }

    public List<ImagingWarning> Warnings { get; } = [];

    public static HfsPlusPlanOptions Options { get; } = new()
    {
        VolumeName = "Test Volume",
        CreationTime = TestTree.SomeTime,
        VolumeId = 0x0123_4567_89AB_CDEF,
    };

    /// <summary>Plans and renders.</summary>
    public static VolumeFile Write(TestTree tree, HfsPlusPlanOptions? options = null, string? place = null)
    {
        var warnings = new Listener();
        HfsPlusPlan plan = HfsPlusPlanner.Plan(tree, options ?? Options, warnings, default);
        var file = new VolumeFile(place) { Plan = plan };
        try
        {
            file.Render(tree, warnings);
        }
        catch
        {
            file.Dispose();
            throw;
        }

        file.Warnings.AddRange(warnings.Warnings);
        return file;
    }

    private void Render(TestTree tree, Listener warnings)
    {
        using (var renderer = new HfsPlusRenderer(Plan, tree, warnings))
        using (FileStream output = File.Create(Path))
        {
            output.SetLength(renderer.Length);
            byte[] buffer = new byte[1 << 20];
            long at = 0;
            foreach (StorageExtent extent in renderer.GetExtents(0, renderer.Length))
            {
                Assert.Equal(at, extent.Offset);
                Assert.True(extent.Length > 0);
                at = extent.End;
                if (extent.Kind != ExtentKind.Data) continue;
                output.Position = extent.Offset;
                for (long done = 0; done < extent.Length; done += buffer.Length)
                {
                    Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, extent.Length - done));
                    renderer.Read(extent.Offset + done, part);
                    output.Write(part);
                }
            }

            Assert.Equal(renderer.Length, at);
        }
    }

    /// <summary>Apple's checker must find nothing to say.</summary>
    public void AssertFsckIsContent()
    {
        (int code, string output, string error) = Oracle.Run("fsck_hfs", "-fn", Path);
        string text = output + error;
        Assert.True(code == 0, text);
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            Assert.True(
                line.StartsWith("** ", StringComparison.Ordinal) && !line.Contains("problem", StringComparison.OrdinalIgnoreCase)
                    || line.StartsWith("Executing fsck_hfs", StringComparison.Ordinal)
                        || line.StartsWith("The volume name is", StringComparison.Ordinal), "fsck_hfs said: " + text);
        }
    }

    public void Dispose() => _folder.Delete(true);

    private sealed class Listener : IImagingObserver
    {
        public List<ImagingWarning> Warnings { get; } = [];

        public void OnProgress(ImagingProgress progress)
        {
        }

        public void OnWarning(ImagingWarning warning)
        {
            lock (Warnings) Warnings.Add(warning);
        }

        public void OnVerbose(string message)
        {
        }
    }
}
