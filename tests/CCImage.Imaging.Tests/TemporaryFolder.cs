namespace CCImage.Tests;

/// <summary>A fresh folder for one test, removed with all that is in it.</summary>
/// <param name="parent">Where to make it; null for the system's place for such things.</param>
internal sealed class TemporaryFolder(string? parent = null) : IDisposable
{
    /// <summary>Its full path.</summary>
    public string Path { get; } = parent is null
        ? Directory.CreateTempSubdirectory("ccimage-").FullName
        : Directory.CreateDirectory(System.IO.Path.Combine(parent, $"ccimage-{Guid.NewGuid():N}")).FullName;

    /// <summary>A path in it.</summary>
    public string this[params string[] names] => System.IO.Path.Combine([Path, .. names]);

    /// <inheritdoc/>
    public void Dispose()
    {
        // Trees of 200 long names are beyond what the runtime's own removal takes in one path.
        if (OperatingSystem.IsWindows()) Directory.Delete(Path, recursive: true);
        else Oracle.Run("rm", "-rf", Path);
    }
}
