using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;

namespace CCImage.Tests;

/// <summary>What the staged module consists of, and what its assemblies name.</summary>
public class ModuleReferencesTests
{
    private static readonly string Bin = Path.Combine(Repository.Root, "bin");

    [Fact]
    public void The_cmdlets_name_no_package() => Assert.DoesNotContain(
        References("CCImage.dll"), name => name is not ("CCImage.Imaging" or "System.Management.Automation" or "netstandard")
            && !name.StartsWith("System.", StringComparison.Ordinal));

    [Fact]
    public void The_core_does_not_name_power_shell() =>
        Assert.DoesNotContain("System.Management.Automation", References("CCImage.Imaging.dll"));

    [Fact]
    public void Packages_lie_in_the_private_folder_only()
    {
        Assert.Equal(["CCImage.Imaging.dll", "CCImage.dll"],
            Directory.GetFiles(Bin, "*.dll").Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Contains("ICSharpCode.SharpZipLib", References(Path.Combine("private", "CCImage.Private.dll")));
        Assert.True(File.Exists(Path.Combine(Bin, "private", "ICSharpCode.SharpZipLib.dll")));
        Assert.False(
            File.Exists(Path.Combine(Bin, "private", "CCImage.Imaging.dll")), "A second core would make second types of the seam.");
    }

    private static string[] References(string assembly)
    {
        using var file = new PEReader(File.OpenRead(Path.Combine(Bin, assembly)));
        MetadataReader metadata = file.GetMetadataReader();
        return [.. metadata.AssemblyReferences.Select(handle => metadata.GetString(metadata.GetAssemblyReference(handle).Name))];
    }
}
