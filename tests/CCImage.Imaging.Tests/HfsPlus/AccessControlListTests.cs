using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Access control lists of a Mac, which a host without them keeps as an attribute like others.</summary>
public sealed class AccessControlListTests
{
    [OracleFact("fsck_hfs")]
    public void Are_kept_as_the_file_system_has_them_and_Apples_checker_takes_them()
    {
        Require.Linux();
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["source", "sub"]);
        File.WriteAllText(folder["source", "file"], "x");

        // struct kauth_filesec (sys/kauth.h), big-endian: one entry, by which everyone is denied to delete.
        byte[] list =
            Convert.FromHexString(
                "012CC16D" + new string('0', 64) + "00000001" + "00000000" + "ABCDEFABCDEFABCDEFABCDEF0000000C" + "00000002" + "00000010");
        using (HostDirectory source = HostPlatform.Current.OpenDirectory(folder["source"]))
        {
            foreach (string name in (string[])["file", "sub"]) source.SetAttribute(new(name), HostAttributes.AccessListName, list);
        }

        string path = folder["image.dmg"];
        using (ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = folder["source"], Path = path, Format = BackupImageFormat.ReadWrite }, SilentObserver.Instance,
            CancellationToken.None))
            creation.Run(CancellationToken.None);
        using DiskImage image = DiskImage.Open(path);
        using (SourceTree tree = image.ReadTree(null, CancellationToken.None))
            Assert.All(tree.Root.Children, e =>
                Assert.Equal((HostAttributes.AccessListName, Convert.ToHexString(list)),
                    (e.Attributes[0].Name, Convert.ToHexString(e.Attributes[0].Value!))));

        // It looks for the flag in the catalog that tells of a list.
        BackupImageVolume volume = Assert.Single(image.Describe().Volumes);
        byte[] bytes = new byte[volume.CapacityBytes];
        image.Disk.Read(image.Volumes[0].OffsetBytes, bytes);
        File.WriteAllBytes(folder["volume"], bytes);
        (int exitCode, string output, string error) = Oracle.Run("fsck_hfs", "-fn", folder["volume"]);
        Assert.True(exitCode == 0, output + error);
    }
}
