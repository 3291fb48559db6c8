using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.Containers.SparseBundle;

/// <summary>Judges the folder of a sparse bundle: property list and its copy, token, and the files in <c>bands</c> and <c>mapped</c>.</summary>
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
        SparseBundleInfo info;
        try
        {
            info = SparseBundleStorage.ReadInfo(path, out _);
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(Lists, e);
            return;
        }

        CheckLists(findings, info);
        if (!File.Exists(Path.Combine(path, SparseBundleStorage.TokenName)))
            findings.Note("Bundle token", "The file 'token' is missing; every bundle of Apple's has one. Were the bundle encrypted, its key would be lost.", SparseBundleStorage.TokenName);
        if (!Directory.Exists(Path.Combine(path, SparseBundleFiles.BandsName))) return; // opening the bundle says so
        CheckBands(findings, info, cancellation);
        if (Directory.Exists(Path.Combine(path, SparseBundleFiles.MappedName))) CheckMaps(findings, info, cancellation);
    }

    /// <summary>Copies the property list that is right over the one that is not, in one rename.</summary>
    /// <returns>What was mended, or null.</returns>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageInUse"/>, or what the host says.</exception>
    public string? Repair()
    {
        (byte[] Bytes, SparseBundleInfo Info)? list = TryReadList(SparseBundleInfo.FileName, out _), copy = TryReadList(SparseBundleInfo.CopyName, out _);
        if (list is null && copy is null) return null;
        if (list is not null && copy is not null && list.Value.Info == copy.Value.Info) return null;
        (string good, string bad) = list is null ? (SparseBundleInfo.CopyName, SparseBundleInfo.FileName) : (SparseBundleInfo.FileName, SparseBundleInfo.CopyName);
        string token = Path.Combine(path, SparseBundleStorage.TokenName);
        using FileStorage guard = FileStorage.OpenWrite(File.Exists(token) ? token : Path.Combine(path, good)); // whoever writes to the bundle holds it
        using var file = new AtomicFile(Path.Combine(path, bad), overwrite: true);
        file.Storage.Write(0, (list ?? copy)!.Value.Bytes);
        file.Commit();
        return $"{bad} was restored from {good}.";
    }

    private (byte[] Bytes, SparseBundleInfo Info)? TryReadList(string name, out string fault)
    {
        fault = "is missing";
        string file = Path.Combine(path, name);
        if (!File.Exists(file)) return null;
        try
        {
            byte[] bytes = SparseBundleStorage.ReadSmallFile(file, SparseBundleStorage.MaximumInfoLength);
            fault = "is not the list of a sparse bundle";
            return SparseBundleInfo.Read(bytes) is { } info ? (bytes, info) : null;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            fault = "is damaged";
            return null;
        }
    }

    private void CheckLists(ImageFindings findings, SparseBundleInfo info)
    {
        (byte[] Bytes, SparseBundleInfo Info)? list = TryReadList(SparseBundleInfo.FileName, out string listFault), copy = TryReadList(SparseBundleInfo.CopyName, out string copyFault);
        if (list is null) findings.Repairable(Lists, $"Info.plist {listFault}; its copy is right.", SparseBundleInfo.FileName);
        else if (copy is null) findings.Repairable(Lists, $"The copy of Info.plist {copyFault}.", SparseBundleInfo.CopyName);
        else if (list.Value.Info != copy.Value.Info) findings.Repairable(Lists, "The copy of Info.plist says something else than Info.plist.", SparseBundleInfo.CopyName);
        else findings.Ok(Lists, "Info.plist and its copy agree.");
        bool isUsual = info.BandSize is >= SparseBundleInfo.MinimumBandSize and <= SparseBundleInfo.MaximumBandSize;
        if (!isUsual) findings.Note(Lists, $"Bands of {info.BandSize} bytes are not among those a Mac makes.", SparseBundleInfo.FileName);
        if (info.DiskLength % 512 != 0) findings.Damaged(Lists, $"A disk of {info.DiskLength} bytes does not consist of whole sectors.", SparseBundleInfo.FileName);
    }

    private void CheckBands(ImageFindings findings, SparseBundleInfo info, CancellationToken cancellation)
    {
        long bands = 0, wrong = 0;
        foreach ((string name, long length) in List(SparseBundleFiles.BandsName))
        {
            cancellation.ThrowIfCancellationRequested();
            string place = $"{SparseBundleFiles.BandsName}/{name}";
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

    private void CheckMaps(ImageFindings findings, SparseBundleInfo info, CancellationToken cancellation)
    {
        long expected = Layout.DivideUp(info.BandSize, SparseBundleFiles.MapUnit * 8), wrong = 0;
        foreach ((string name, long length) in List(SparseBundleFiles.MappedName))
        {
            cancellation.ThrowIfCancellationRequested();
            string place = $"{SparseBundleFiles.MappedName}/{name}";
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

    // Whatever is in a folder; a length of 0 for what is no file.
    private IEnumerable<(string Name, long Length)> List(string folder)
    {
        string full = Path.Combine(path, folder);
        try
        {
            // In one go, for the host's errors; a name and a number each.
            return [.. new DirectoryInfo(full).EnumerateFileSystemInfos().Select(e => e is FileInfo { Exists: true } file ? (file.Name, file.Length) : (e.Name, 0))];
        }
        catch (Exception e) when (FileErrors.IsFileError(e))
        {
            throw FileErrors.Map(e, full, writing: false);
        }
    }
}
