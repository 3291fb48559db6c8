using CCImage.Binary;
using CCImage.Diagnostics;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Judges everything that an HFS+ or HFSX volume keeps about itself, in one pass over each B-tree: headers, trees, catalog, extents,
/// attributes, journal, bitmap. File contents have no checksums and are not looked at. What is tolerated, and why, is told in
/// docs/formats/hfsplus.md. A million files take some 200 MB and a few seconds.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="findings">Receives what is found.</param>
/// <param name="cancellation">Ends it.</param>
internal sealed class HfsPlusChecker(HfsPlusVolume volume, ImageFindings findings, CancellationToken cancellation)
{
    private readonly BlockUsage _usage = new();
    private readonly CatalogNodes _nodes = new(findings);
    private readonly VolumeHeaderChecker _headers = new(volume, findings);
    private readonly JournalChecker _journal = new(volume, findings);
    private bool _isComplete = true; // whether every record that could name blocks was seen

    /// <summary>Whether the first header must be made anew from its copy.</summary>
    public bool IsPrimaryLost => _headers.IsPrimaryLost;

    /// <summary>Whether the copy must be made anew from the first header.</summary>
    public bool IsAlternateWrong => _headers.IsAlternateWrong;

    /// <summary>Whether the journal may hold changes that are not in their places.</summary>
    public bool MayLag => _journal.MayHoldChanges;

    /// <summary>The volume header as it should be: with the counts that were found.</summary>
    public VolumeHeader CountedHeader { get; private set; }

    /// <summary>The bitmap's verdict; null when it was not compared.</summary>
    public BitmapChecker? Bitmap { get; private set; }

    /// <summary>The blocks that are used, once <see cref="Bitmap"/> is there.</summary>
    public BlockUsage Usage => _usage;

    private VolumeHeader Header => volume.Header;

    /// <summary>Judges the volume.</summary>
    public void Run()
    {
        CountedHeader = Header;
        _headers.Run();
        _journal.Run();
        var forks = new ForkChecker(Header, _usage, findings);
        CheckExtentsFile(forks);
        CheckSpecialForks(forks);
        var catalog = new CatalogChecker(volume, forks, _nodes, findings);
        CheckCatalog(catalog);
        if (_isComplete) CheckAttributes(forks);
        _journal.CheckFiles(catalog.JournalFiles.Journal, catalog.JournalFiles.InfoBlock);
        _usage.Seal((first, second) =>
        {
            cancellation.ThrowIfCancellationRequested();
            if (!findings.TryCount(ImageFindingGrade.Damaged, HfsPlusCheckNames.SharedBlocks, 1))
                findings.Damaged(HfsPlusCheckNames.SharedBlocks, $"{first} and {second} share blocks: one overwrites the other.",
                    $"allocation block {second.Start}");
        });
        if (!_isComplete)
        {
            findings.Note(HfsPlusCheckNames.Bitmap,
                "Not everything could be read; what depends on all of it (owners, bitmap, counts) was not judged.");
            return;
        }

        forks.ReportOrphans();
        if (volume.Has(VolumeAttributes.SparedBlocks) != forks.HasBadBlocks)
            findings.Note(
                HfsPlusCheckNames.Header, "The volume header and the extents-overflow file do not agree on whether there are bad blocks.");
        CheckCounts(catalog);
        CheckBitmap();
        Conclude();
    }

    private void CheckExtentsFile(ForkChecker forks) => CheckTree(
        () => volume.OpenTree(Header.ExtentsFile, CatalogNodeId.ExtentsFile, "extents overflow"),
        new ExtentKeys(), forks.AddOverflow, () => forks.IsOverflowComplete = false);

    private void CheckSpecialForks(ForkChecker forks)
    {
        long first = Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset + HfsPlusConstants.VolumeHeaderSize, Header.BlockSize);
        long last = Layout.DivideUp(HfsPlusConstants.VolumeHeaderOffset, Header.BlockSize);
        if (first + last <= Header.TotalBlocks)
        {
            _usage.Add(new UsedRun(0, (uint)first, 0, BlockUse.Reserved));
            _usage.Add(new UsedRun((uint)(Header.TotalBlocks - last), (uint)last, 0, BlockUse.Reserved));
        }

        Check(Header.ExtentsFile, CatalogNodeId.ExtentsFile);
        Check(Header.CatalogFile, CatalogNodeId.CatalogFile);
        Check(Header.AllocationFile, CatalogNodeId.AllocationFile);
        Check(Header.AttributesFile, CatalogNodeId.AttributesFile);
        Check(Header.StartupFile, CatalogNodeId.StartupFile);

        void Check(in ForkData fork, uint id) =>
            forks.CheckFork(fork, id, ExtentsOverflow.DataFork, BlockUse.SpecialFile, mayBeLonger: true, new RecordPlace(null, 0, 0, id));
    }

    private void CheckCatalog(CatalogChecker catalog)
    {
        bool isBinary = false;
        try
        {
            byte compare = volume.Catalog.Header.KeyCompareType;
            isBinary = Header.Signature == HfsPlusConstants.SignatureHfsx && compare == HfsPlusConstants.KeyCompareBinary;
            if (Header.Signature == HfsPlusConstants.SignatureHfsx
                && compare is not (HfsPlusConstants.KeyCompareBinary or HfsPlusConstants.KeyCompareCaseFolding))
                findings.Damaged(HfsPlusCheckNames.TreeHeader,
                    $"The catalog of the HFSX volume has an unknown order of names (0x{compare:X2}).", "catalog B-tree node 0");
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            // Reported by the walk.
        }

        CheckTree(() => volume.Catalog, new CatalogKeys(isBinary), catalog.Add, null);
        if (_isComplete) catalog.Finish(cancellation);
    }

    private void CheckAttributes(ForkChecker forks)
    {
        var attributes = new AttributesChecker(forks, _nodes, findings);
        if (Header.AttributesFile.LogicalSize != 0) CheckTree(() => volume.OpenAttributes()!, new AttributeKeys(), attributes.Add, null);
        if (_isComplete) attributes.Finish();
    }

    private void CheckTree(Func<BTreeFile> open, BTreeKeys keys, LeafRecordHandler onRecord, Action? onIncomplete)
    {
        bool isComplete = false;
        try
        {
            var checker = new BTreeChecker(open(), keys, findings, cancellation);
            checker.Run(onRecord);
            isComplete = checker.IsComplete;
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(HfsPlusCheckNames.TreeNodes, e);
        }

        if (isComplete) return;
        _isComplete = false;
        onIncomplete?.Invoke();
    }

    private void CheckCounts(CatalogChecker catalog)
    {
        VolumeHeader counted = Header;
        counted.FileCount = (uint)catalog.Files;
        counted.FolderCount = (uint)Math.Max(0, catalog.Folders - 1);
        if (!volume.Has(VolumeAttributes.CatalogNodeIdsReused) && catalog.GreatestId >= Header.NextCatalogId)
            counted.NextCatalogId = (uint)Math.Min(uint.MaxValue, catalog.GreatestId + 1L);
        Compare("files", Header.FileCount, counted.FileCount);
        Compare("folders", Header.FolderCount, counted.FolderCount);
        if (counted.NextCatalogId != Header.NextCatalogId && !IsPrimaryLost)
            Report(HfsPlusCheckNames.Counts,
                $"The next catalog id is {Header.NextCatalogId}, but {catalog.GreatestId} is in use: a new file would get the id of "
                    + $"another.");
        CountedHeader = counted;

        void Compare(string what, uint said, uint there)
        {
            if (said != there && !IsPrimaryLost)
                Report(HfsPlusCheckNames.Counts, $"The volume header counts {said} {what}; there are {there}.");
        }
    }

    private void CheckBitmap()
    {
        ForkStorage bitmap;
        try
        {
            bitmap = volume.OpenFork(Header.AllocationFile, CatalogNodeId.AllocationFile, ExtentsOverflow.DataFork, "allocation file");
        }
        catch (ImageException e) when (e.Id == ImageErrorId.ImageDamaged)
        {
            findings.Damaged(HfsPlusCheckNames.Bitmap, e);
            return;
        }

        if (bitmap.Length < Layout.DivideUp(Header.TotalBlocks, 8)) return; // reported with the header
        KeepJournalBlocks();
        Bitmap = new BitmapChecker(bitmap, Header.TotalBlocks, _usage, cancellation);
        Bitmap.Compare((block, count) => Report(HfsPlusCheckNames.Bitmap,
            $"{count} blocks are in use, but marked as free: the next change may overwrite them.", $"allocation block {block}"));
        VolumeHeader counted = CountedHeader;
        counted.FreeBlocks = (uint)(Bitmap.Free + Bitmap.Leaked);
        CountedHeader = counted;
        if (Bitmap.Leaked > 0)
            Lagging(HfsPlusCheckNames.Bitmap,
                $"{Bitmap.Leaked} blocks of {Header.BlockSize} bytes are marked as used, but nothing uses them: the space is lost until it "
                    + $"is given back.",
                $"allocation block {Bitmap.FirstLeaked}");
        if (Bitmap.Free != Header.FreeBlocks && !IsPrimaryLost)
            Lagging(HfsPlusCheckNames.FreeCount,
                $"The volume header counts {Header.FreeBlocks} free blocks; the bitmap has {Bitmap.Free}.",
                volume.HeaderPlace(isAlternate: false));
    }

    // Whatever the catalog says, the blocks that hold the journal are never given back.
    private void KeepJournalBlocks()
    {
        foreach (UsedRun run in _journal.Runs)
        {
            if (_usage.Covers(run.Start, run.Count)) continue;
            _usage.Add(run);
            _usage.Seal(static (_, _) => { });
        }
    }

    // Says something is wrong, unless the truth may stand in the journal.
    private void Report(string check, string message, string? place = null)
    {
        if (MayLag) findings.Note(check, message, place);
        else findings.Damaged(check, message, place);
    }

    private void Lagging(string check, string message, string place)
    {
        if (MayLag) findings.Note(check, message, place);
        else findings.Repairable(check, message, place);
    }

    private void Conclude()
    {
        if (!findings.IsSound) return;
        VolumeHeader counted = CountedHeader;
        findings.Ok(HfsPlusCheckNames.Header,
            $"{counted.FileCount} files and {counted.FolderCount} folders in {counted.TotalBlocks} blocks of {counted.BlockSize} bytes.");
        findings.Ok(HfsPlusCheckNames.TreeNodes, "Catalog, extents and attributes: nodes, links, order and maps are in order.");
        findings.Ok(HfsPlusCheckNames.CatalogRecords, "Every entry has its thread, its folder, and blocks of its own.");
        if (!MayLag)
            findings.Ok(HfsPlusCheckNames.Bitmap, $"The bitmap marks exactly the blocks that are in use; {counted.FreeBlocks} are free.");
    }
}
