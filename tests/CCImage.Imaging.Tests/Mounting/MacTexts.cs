namespace CCImage.Tests.Mounting;

/// <summary>
/// What macOS' programs say. None was recorded by this project: they were put together here, with the keys and the wording that hdiutil(1),
/// diskutil(8) and public reports show. The tests tagged MacOS ask the real ones.
/// </summary>
internal static class MacTexts
{
    private const string Head = """
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
        <plist version="1.0">
        """;

    /// <summary>The help of a system whose diskutil has everything.</summary>
    public const string DiskutilHelp = """
        OVERVIEW: Attach a disk image as a device.

        USAGE: diskutil image attach [--stdinpassphrase] [--plist] [--readOnly] [--nobrowse] [--noMount] [--mountOptions <mountOptions>] [--mountPoint <mountPoint>] <image>
        """;

    /// <summary>The help of one that hides volumes by an option of mount.</summary>
    public const string DiskutilHelpWithoutNobrowse =
        "USAGE: diskutil image attach [--stdinpassphrase] [--plist] [--readOnly] [--mountOptions <mountOptions>] <image>";

    /// <summary>What a diskutil without images says, with exit code 1.</summary>
    public const string DiskutilWithoutImages = "diskutil: did not recognize verb \"image\"; type \"diskutil\" for a list";

    /// <summary>hdiutil attach -plist of an image with a GPT and an HFS+ volume.</summary>
    public const string AttachedHfs = Head + """
        <dict><key>system-entities</key><array>
          <dict><key>content-hint</key><string>Apple_HFS</string><key>dev-entry</key><string>/dev/disk4s1</string><key>mount-point</key><string>/Volumes/My Backup</string>
            <key>potentially-mountable</key><true/><key>unmapped-content-hint</key><string>48465300-0000-11AA-AA11-00306543ECAC</string><key>volume-kind</key><string>hfs</string></dict>
          <dict><key>content-hint</key><string>GUID_partition_scheme</string><key>dev-entry</key><string>/dev/disk4</string><key>potentially-mountable</key><false/></dict>
        </array></dict></plist>
        """;

    /// <summary>The same of an APFS image: the container appears as a second disk.</summary>
    public const string AttachedApfs = Head + """
        <dict><key>system-entities</key><array>
          <dict><key>content-hint</key><string>EF57347C-0000-11AA-AA11-00306543ECAC</string><key>dev-entry</key><string>/dev/disk11</string><key>potentially-mountable</key><false/></dict>
          <dict><key>content-hint</key><string>41504653-0000-11AA-AA11-00306543ECAC</string><key>dev-entry</key><string>/dev/disk11s1</string>
            <key>mount-point</key><string>/Volumes/One</string><key>potentially-mountable</key><true/></dict>
          <dict><key>content-hint</key><string>41504653-0000-11AA-AA11-00306543ECAC</string><key>dev-entry</key><string>/dev/disk11s2</string>
            <key>mount-point</key><string>/Volumes/Two</string><key>potentially-mountable</key><true/></dict>
          <dict><key>content-hint</key><string>Apple_APFS</string><key>dev-entry</key><string>/dev/disk9s1</string><key>potentially-mountable</key><true/></dict>
          <dict><key>content-hint</key><string>GUID_partition_scheme</string><key>dev-entry</key><string>/dev/disk9</string><key>potentially-mountable</key><false/></dict>
        </array></dict></plist>
        """;

    /// <summary>The same when a lower number had become free for the container.</summary>
    public const string AttachedApfsLow = Head + """
        <dict><key>system-entities</key><array>
          <dict><key>content-hint</key><string>EF57347C-0000-11AA-AA11-00306543ECAC</string><key>dev-entry</key><string>/dev/disk3</string></dict>
          <dict><key>dev-entry</key><string>/dev/disk3s1</string><key>mount-point</key><string>/Volumes/One</string></dict>
          <dict><key>dev-entry</key><string>/dev/disk3s2</string><key>mount-point</key><string>/Volumes/Two</string></dict>
          <dict><key>content-hint</key><string>GUID_partition_scheme</string><key>dev-entry</key><string>/dev/disk9</string></dict>
        </array></dict></plist>
        """;

    /// <summary>The same of an image without a partition map.</summary>
    public const string AttachedWhole = Head + """
        <dict><key>system-entities</key><array>
          <dict><key>dev-entry</key><string>/dev/disk5</string><key>mount-point</key><string>/Volumes/Whole</string><key>potentially-mountable</key><true/></dict>
        </array></dict></plist>
        """;

    /// <summary>diskutil image attach --plist: devices by their names alone, and hints in words.</summary>
    public const string AttachedByDiskutil = Head + """
        <dict><key>system-entities</key><array>
          <dict><key>content-hint</key><string>GUID_partition_scheme</string><key>dev-entry</key><string>disk25</string></dict>
          <dict><key>content-hint</key><string>Apple_APFS</string><key>dev-entry</key><string>disk25s1</string></dict>
          <dict><key>content-hint</key><string>Apple_APFS_Container</string><key>dev-entry</key><string>disk26</string></dict>
          <dict><key>content-hint</key><string>Apple_APFS_Volume</string><key>dev-entry</key><string>disk26s1</string><key>mount-point</key><string>/Volumes/One</string></dict>
        </array></dict></plist>
        """;

    /// <summary>A property list without a device.</summary>
    public const string AttachedNothing = Head + "<dict><key>system-entities</key><array/></dict></plist>";

    /// <summary>hdiutil info -plist with the images given.</summary>
    public static string Info(params (string Path, string Device, string MountPoint)[] images) => Head
        + "<dict><key>framework</key><string>671</string><key>images</key><array>"
        + string.Concat(images.Select(i => $"""
            <dict><key>autodiskmount</key><true/><key>blockcount</key><integer>40960</integer><key>blocksize</key><integer>512</integer>
              <key>image-encrypted</key><false/><key>image-path</key><string>{i.Path}</string><key>image-type</key><string>sparse bundle disk image</string>
              <key>system-entities</key><array>
                <dict><key>content-hint</key><string>GUID_partition_scheme</string><key>dev-entry</key><string>{i.Device}</string></dict>
                <dict><key>content-hint</key><string>Apple_HFS</string><key>dev-entry</key><string>{i.Device}s1</string><key>mount-point</key><string>{i.MountPoint}</string></dict>
              </array><key>writeable</key><true/></dict>
            """))
        + "</array><key>vendor</key><string>Apple</string></dict></plist>";
}
