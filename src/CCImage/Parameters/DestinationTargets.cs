using CCImage.Containers.SparseBundle;

namespace CCImage.Parameters;

/// <summary>Rules about destinations that are shared by the cmdlets that make images.</summary>
internal static class DestinationTargets
{
    /// <summary>Whether a destination is a folder to put images into, and not itself a bundle to replace.</summary>
    /// <param name="path">Full path.</param>
    public static bool IsFolder(string path) =>
        Directory.Exists(path) && !ImageFormats.IsBundle(path) && !SparseBundleStorage.IsMatch(path);

    /// <summary>Two inputs of one pipeline have the same destination: the second would replace the first.</summary>
    /// <param name="path">The destination.</param>
    /// <param name="parameter">The parameter that gives it.</param>
    public static ImageException AlreadyUsed(string path, string parameter) => new(
        ImageErrorId.DestinationExists, "An earlier input of this pipeline was written there.", path,
        remedy: $"Give a folder that exists as {parameter}, where each image gets a name of its own; inputs that differ in their extension "
            + $"only have to go to different folders.");
}
