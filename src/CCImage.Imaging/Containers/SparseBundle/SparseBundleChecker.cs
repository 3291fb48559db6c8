using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Platform;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>Judges the folder of a sparse bundle: property list and its copy, token, and the files in <c>bands</c> and
/// <c>mapped</c>.</summary>
/// <param name="path">The bundle.</param>
internal sealed class SparseBundleChecker(string path)
{
    private const string Lists = "Bundle property list", Bands = "Bundle bands", Maps = "Bundle maps";

    /// <summary>Judges it.</summary>
    /// <param name="findings">Receives what is found.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException">The host does not let the folder be read.</exception>
    public void Check(ImageFindings findings, CancellationToken cancellation)
    {
        try
        {
            using SparseBundleFolder folder = SparseBundleFolder.Open(path);
            SparseBundleInfo info = SparseBundleStorage.ReadInfo(folder, out _);
            CheckLists(folder, findings, info);
            if (!folder.Has(SparseBundleStorage.TokenName))
                findings.Note(
                    "Bundle token",
                    "The file 'token' is missing; every bundle of Apple's has one. Were the bundle encrypted, its key would be lost.",
                    SparseBundleStorage.TokenName);
            if (folder.Bands is null) findings.Damaged(Bands, "The folder with the bands is missing.", SparseBundleFiles.BandsName);
            else CheckBands(folder, folder.Bands, findings, info, cancellation);
            if (folder.Mapped is { } mapped) CheckMaps(folder, mapped, findings, info, cancellation);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(Lists, e);
        }
    }

    /// <summary>Copies the property list that is right over the one that is not, in one rename.</summary>
    /// <returns>What was mended, or null.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, or what the host says.</exception>
    public string? Repair()
    {
        using SparseBundleFolder folder = SparseBundleFolder.Open(path);
        (byte[] Bytes, SparseBundleInfo Info)? list = TryReadList(folder, SparseBundleInfo.FileName, out _),
            copy = TryReadList(folder, SparseBundleInfo.CopyName, out _);
        if (list is null && copy is null) return null;
        if (list is not null && copy is not null && list.Value.Info == copy.Value.Info) return null;
        (string good, string bad) = list is null ? (SparseBundleInfo.CopyName, SparseBundleInfo.FileName)
            : (SparseBundleInfo.FileName, SparseBundleInfo.CopyName);

        // Whoever writes to the bundle holds it. Where the list itself is locked and is the one that is replaced, an open file cannot be
        // everywhere.
        using (FileStorage guard = folder.OpenGuard(writable: true))
        {
            if (OperatingSystem.IsWindows() && Path.GetFileName(guard.Path) == bad) guard.Dispose();
            folder.ReplaceSmallFile(bad, (list ?? copy)!.Value.Bytes);
        }

        return $"{bad} was restored from {good}.";
    }

    private static (byte[] Bytes, SparseBundleInfo Info)? TryReadList(SparseBundleFolder folder, string name, out string fault)
    {
        fault = "is missing";
        try
        {
            if (folder.ReadSmallFile(name, SparseBundleStorage.MaximumInfoLength) is not { } bytes) return null;
            fault = "is not the list of a sparse bundle";
            return SparseBundleInfo.Read(bytes) is { } info ? (bytes, info) : null;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged && e.InnerException is not HostException)
        {
            fault = "is damaged";
            return null;
        }
    }

    private static void CheckLists(SparseBundleFolder folder, ImageFindings findings, SparseBundleInfo info)
    {
        (byte[] Bytes, SparseBundleInfo Info)? list = TryReadList(folder, SparseBundleInfo.FileName, out string listFault),
            copy = TryReadList(folder, SparseBundleInfo.CopyName, out string copyFault);
        if (list is null) findings.Repairable(Lists, $"Info.plist {listFault}; its copy is right.", SparseBundleInfo.FileName);
        else if (copy is null) findings.Repairable(Lists, $"The copy of Info.plist {copyFault}.", SparseBundleInfo.CopyName);
        else if (list.Value.Info != copy.Value.Info)
            findings.Repairable(Lists, "The copy of Info.plist says something else than Info.plist.", SparseBundleInfo.CopyName);
        else findings.Ok(Lists, "Info.plist and its copy agree.");
        bool isUsual = info.BandSize is >= SparseBundleInfo.MinimumBandSize and <= SparseBundleInfo.MaximumBandSize;
        if (!isUsual) findings.Note(Lists, $"Bands of {info.BandSize} bytes are not among those a Mac makes.", SparseBundleInfo.FileName);
        if (info.DiskLength % 512 != 0)
            findings.Damaged(Lists, $"A disk of {info.DiskLength} bytes does not consist of whole sectors.", SparseBundleInfo.FileName);
    }

    private static void CheckBands(
        SparseBundleFolder bundle, HostDirectory folder, ImageFindings findings, SparseBundleInfo info, CancellationToken cancellation)
    {
        long bands = 0, wrong = 0;
        foreach ((string name, HostStat stat) in List(bundle, folder, SparseBundleFiles.BandsName))
        {
            cancellation.ThrowIfCancellationRequested();
            string place = $"{SparseBundleFiles.BandsName}/{name}";
            long length = stat.Size;
            if (IsNoFile(findings, Bands, stat, place, ref wrong)) continue;
            if (!SparseBundleFiles.TryParseName(name, out long number))
            {
                findings.Note(Bands, "This is no band's file; something else put it there.", place);
                continue;
            }

            bands++;
            if (number >= info.BandCount)
            {
                findings.Note(Bands, $"The disk ends with band {info.BandCount - 1:x}; this one is never read.", place);
            }
            else if (length > info.BandSize)
            {
                wrong++;
                findings.Damaged(Bands, $"The file has {length} bytes, and a band {info.BandSize}.", place);
            }
        }

        if (wrong == 0) findings.Ok(Bands, $"{bands} band files, none longer than a band.");
    }

    private static void CheckMaps(
        SparseBundleFolder bundle, HostDirectory folder, ImageFindings findings, SparseBundleInfo info, CancellationToken cancellation)
    {
        long expected = Layout.DivideUp(info.BandSize, SparseBundleFiles.MapUnit * 8), wrong = 0;
        foreach ((string name, HostStat stat) in List(bundle, folder, SparseBundleFiles.MappedName))
        {
            cancellation.ThrowIfCancellationRequested();
            string place = $"{SparseBundleFiles.MappedName}/{name}";
            long length = stat.Size;
            if (IsNoFile(findings, Maps, stat, place, ref wrong)) continue;
            if (!SparseBundleFiles.TryParseName(name, out _))
            {
                findings.Note(Maps, "This is no band's map; something else put it there.", place);
            }
            else if (length != expected)
            {
                wrong++;
                findings.Damaged(Maps, $"The map of a band has {length} bytes instead of {expected}.", place);
            }
        }

        if (wrong == 0) findings.Ok(Maps, "The maps have the right length.");
    }

    // A link leads out of the bundle, and what has a band's name and is no file is no band.
    private static bool IsNoFile(ImageFindings findings, string check, in HostStat stat, string place, ref long wrong)
    {
        bool isBand = SparseBundleFiles.TryParseName(Path.GetFileName(place), out _);
        if (stat.IsFile || (!isBand && stat.Kind != EntryKind.SymbolicLink)) return false;
        wrong++;
        findings.Damaged(check, stat.Kind == EntryKind.SymbolicLink ? "This is a symbolic link, which a bundle never holds."
            : "This is not a file.", place);
        return true;
    }

    // Whatever is in a folder.
    private static List<(string Name, HostStat Stat)> List(SparseBundleFolder bundle, HostDirectory folder, string place)
    {
        var found = new List<(string Name, HostStat Stat)>();
        try
        {
            var names = new List<string>();
            folder.ReadNames(names, []);
            foreach (string name in names)
            {
                if (AtomicFile.StatOf(folder, name) is { } stat) found.Add((name, stat));
            }

            return found;
        }
        catch (HostException e)
        {
            throw bundle.ErrorOf(e, place, writing: false);
        }
    }
}
