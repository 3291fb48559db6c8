using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Moves what is in the way of a smaller volume; the volume keeps its size. All is decided before the first write.
/// <para>
/// The order, with a flush between: the bits of the blocks that receive something are set, and these blocks are written — file contents and
/// the journal as they are, the trees and the allocation file whole, with the records that differ; the volume header, one sector: from here
/// on everything is in its new place; its copy; the bits of the old places are cleared. Nothing that a header leads to is ever changed, so
/// that every prefix, and whatever is lost of the writes since the last flush, is the old volume or the new one, with leaked blocks at
/// most.
/// </para>
/// </summary>
internal sealed class HfsPlusRelocator
{
    private const int PieceSize = 1 << 20;
    private const uint BigKeys = 2, VariableIndexKeys = 4;
    private const ushort CatalogKeyLength = 516, ExtentKeyLength = 10, AttributeKeyLength = 266;

    private readonly HfsPlusVolume _volume;
    private readonly HfsPlusBlockMap _map;
    private readonly HfsPlusRelocation _plan;
    private readonly List<BlockMove> _moves;
    private readonly ForkRelocation _forks;
    private readonly List<(BTreePlan Tree, IReadOnlyList<BlockRange> Place)> _trees = [];
    private readonly VolumeHeader _header; // the new one
    private readonly List<BlockRange> _new = [], _old = [];
    private Action<long> _onMoved = static _ => { };
    private long _moved; // bytes

    /// <summary>Reads which forks move, and builds the trees that differ.</summary>
    /// <param name="volume">The volume, sound.</param>
    /// <param name="map">Its blocks.</param>
    /// <param name="plan">Where everything goes.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.CapacityTooSmall"/>: a tree does not fit the room that is kept for
    /// it.</exception>
    public HfsPlusRelocator(HfsPlusVolume volume, HfsPlusBlockMap map, HfsPlusRelocation plan, CancellationToken cancellation)
    {
        (_volume, _map, _plan, _moves) = (volume, map, plan, plan.GetMoves());
        _forks = new(map, _moves);
        VolumeHeader header = volume.Header;
        if (plan.MovesFiles)
        {
            foreach (BTreeNode leaf in volume.Catalog.ReadLeaves())
            {
                cancellation.ThrowIfCancellationRequested();
                for (int i = 0; i < leaf.RecordCount; i++) TryTranslate(leaf.Data(i), collect: true, out _);
            }

            CollectAttributes(cancellation);
        }

        foreach (BlockMove move in _moves) Claim([move.New], [move.Old]);
        _forks.Translate(ref header.StartupFile, CatalogNodeId.StartupFile, ExtentsOverflow.DataFork, collect: true);
        if (plan.Catalog.Count > 0)
        {
            BTreeFile tree = volume.Catalog;
            var kind = new BTreeKind(tree.NodeSize, CatalogKeyLength, BigKeys | VariableIndexKeys, tree.Header.KeyCompareType);
            Rebuild(ref header.CatalogFile, CatalogNodeId.CatalogFile, map.Catalog, plan.Catalog, CatalogOf(tree), kind, tree,
                cancellation);
        }

        if (plan.Attributes.Count > 0 && (_forks.ChangesAttributes || map.Attributes.Runs.Any(r => r.End > plan.Limit)))
        {
            BTreeFile tree = volume.OpenAttributes()!;
            var kind = new BTreeKind(tree.NodeSize, AttributeKeyLength, BigKeys | VariableIndexKeys, 0);
            Rebuild(ref header.AttributesFile, CatalogNodeId.AttributesFile, map.Attributes, plan.Attributes, _forks.AttributesOf(tree),
                kind, tree, cancellation);
        }

        if (plan.Allocation.Count > 0)
        {
            (List<BlockRange> moved, List<BlockRange> surplus) = HfsPlusRelocation.Split(map.Allocation, plan.Allocation.Sum(r => r.Count));
            Claim(plan.Allocation, moved);
            _forks.Replace(ref header.AllocationFile, [.. plan.Allocation, .. surplus], CatalogNodeId.AllocationFile,
                ExtentsOverflow.DataFork, collect: false);
        }

        // The last one: which records it gets depends on all others.
        BTreeFile overflow = volume.OpenTree(header.ExtentsFile, CatalogNodeId.ExtentsFile, "extents overflow");
        Rebuild(
            ref header.ExtentsFile, CatalogNodeId.ExtentsFile, map.Extents, plan.Extents, _forks.ExtentsOf(overflow),
            new(overflow.NodeSize, ExtentKeyLength, BigKeys, 0), overflow, cancellation);
        if (_moves.Find(m => map.JournalInfo is BlockRange info && m.From == info.Start) is { Count: > 0 } infoMove)
            header.JournalInfoBlock = (uint)infoMove.To;
        Sort(_new);
        Sort(_old);
        header.FreeBlocks = (uint)(map.Free.Sum(r => r.Count) - _new.Sum(r => r.Count));
        _header = header;
    }

    /// <summary>Bytes that are written to new places.</summary>
    public long Bytes => BytesOf(_new);

    /// <summary>Free blocks once the old places are given back.</summary>
    public long FreeBlocks => _header.FreeBlocks + _old.Sum(r => r.Count);

    /// <summary>The volume header as it will be, its count of free blocks aside.</summary>
    public VolumeHeader Header => _header;

    private BlockStorage Storage => _volume.Storage;

    /// <summary>Moves everything, durably.</summary>
    /// <param name="onMoved">Hears how many of the <see cref="Bytes"/> are in their new places.</param>
    /// <param name="cancellation">Ends it before the volume header is written; what was marked is free again then.</param>
    public void Write(Action<long> onMoved, CancellationToken cancellation)
    {
        (_onMoved, _moved) = (onMoved, 0);
        ForkStorage bitmap = Open(_map.Allocation);
        AllocationBits.Mark(bitmap, _new, used: true);
        try
        {
            WriteNewPlaces(cancellation);
            cancellation.ThrowIfCancellationRequested();
        }
        catch (OperationCanceledException)
        {
            AllocationBits.Mark(bitmap, _new, used: false);
            Storage.Flush();
            throw;
        }

        Storage.Flush();
        _volume.WriteHeader(isAlternate: false, _header);
        Storage.Flush();
        _volume.WriteHeader(isAlternate: true, _header);
        Storage.Flush();
        if (_plan.Allocation.Count > 0)
        {
            List<BlockRange> surplus = HfsPlusRelocation.Split(_map.Allocation, _plan.Allocation.Sum(r => r.Count)).Others;
            bitmap = Open([.. _plan.Allocation, .. surplus]);
        }

        AllocationBits.Mark(bitmap, _old, used: false);
        Storage.Flush();
    }

    private static void Sort(List<BlockRange> runs) => runs.Sort(static (a, b) => a.Start.CompareTo(b.Start));

    private void WriteNewPlaces(CancellationToken cancellation)
    {
        Copy([.. _moves.Select(m => m.Old)], [.. _moves.Select(m => m.New)], cancellation);
        PatchJournalInfo();
        foreach ((BTreePlan tree, IReadOnlyList<BlockRange> place) in _trees) Render(tree, place, cancellation);
        if (_plan.Allocation.Count > 0)
            Copy(HfsPlusRelocation.Split(_map.Allocation, _plan.Allocation.Sum(r => r.Count)).First, _plan.Allocation, cancellation);
    }

    private void Claim(IReadOnlyList<BlockRange> now, IReadOnlyList<BlockRange> before)
    {
        _new.AddRange(now);
        _old.AddRange(before);
    }

    private long BytesOf(IReadOnlyList<BlockRange> runs) => runs.Sum(r => r.Count) * _map.BlockSize;

    private void Rebuild(
        ref ForkData fork, uint id, TreeExtent before, IReadOnlyList<BlockRange> place, RewrittenRecords records, BTreeKind kind,
        BTreeFile old, CancellationToken cancellation)
    {
        var tree = new BTreeBuilder<RewrittenCursor>(records, kind, cancellation);
        uint nodes = (uint)(BytesOf(place) / kind.NodeSize);
        if (!tree.Fits(nodes))
        {
            throw new ImageException(
                ImageErrorId.CapacityTooSmall,
                $"The {old.Name} file needs {tree.MinimumNodes * (long)kind.NodeSize} bytes; {BytesOf(place)} can be kept free for it.",
                remedy: "Ask for a larger capacity.");
        }

        tree.SetFileSize(nodes, old.Header.ClumpSize);
        _trees.Add((tree, place));
        Claim(place, before.Runs);
        _forks.Replace(ref fork, place, id, ExtentsOverflow.DataFork, collect: true);
        fork.LogicalSize = (ulong)(nodes * (long)kind.NodeSize);
    }

    private RewrittenRecords CatalogOf(BTreeFile tree)
    {
        return new(tree, new CatalogKeys(isBinary: false), static _ => false, [], Patch);

        void Patch(Span<byte> data)
        {
            if (TryTranslate(data, collect: false, out CatalogFile record)) Layout.Write(data, record);
        }
    }

    private void CollectAttributes(CancellationToken cancellation)
    {
        if (_volume.OpenAttributes() is not { } tree) return;
        foreach (BTreeNode leaf in tree.ReadLeaves())
        {
            cancellation.ThrowIfCancellationRequested();
            for (int i = 0; i < leaf.RecordCount; i++) _forks.TakeAttribute(leaf, i);
        }

        _forks.FinishAttributes();
    }

    private bool TryTranslate(ReadOnlySpan<byte> data, bool collect, out CatalogFile record)
    {
        record = default;
        if (data.Length < Unsafe.SizeOf<CatalogFile>() || Layout.Read<UInt16BE>(data) != (ushort)CatalogRecordType.File) return false;
        record = Layout.Read<CatalogFile>(data);
        bool isChanged = _forks.Translate(ref record.DataFork, record.FileId, ExtentsOverflow.DataFork, collect);
        return _forks.Translate(ref record.ResourceFork, record.FileId, ExtentsOverflow.ResourceFork, collect) || isChanged;
    }

    private void Render(BTreePlan tree, IReadOnlyList<BlockRange> place, CancellationToken cancellation)
    {
        ForkStorage file = Open(place);
        byte[] node = new byte[tree.Kind.NodeSize];
        for (uint number = 0; number < tree.TotalNodes; number++)
        {
            cancellation.ThrowIfCancellationRequested();
            tree.RenderNode(number, node);
            Write(file, number * (long)node.Length, node);
        }
    }

    private void PatchJournalInfo()
    {
        if (_map.Journal is not BlockRange journal || _moves.Find(m => m.From == journal.Start) is not { Count: > 0 } move) return;
        long place = _header.JournalInfoBlock * _map.BlockSize;
        JournalInfoBlock info = default;
        Storage.Read(place, Layout.AsBytes(ref info));
        info.Offset = (ulong)(move.To * _map.BlockSize);
        Storage.Write(place, Layout.AsBytes(ref info));
    }

    private ForkStorage Open(IReadOnlyList<BlockRange> runs) =>
        new(Storage, BytesOf(runs), [.. runs.Select(r => (r.Start * _map.BlockSize, r.Count * _map.BlockSize))]);

    // As many bytes as the shorter of the two has.
    private void Copy(List<BlockRange> from, IReadOnlyList<BlockRange> to, CancellationToken cancellation)
    {
        if (from.Count == 0) return;
        ForkStorage source = Open(from), target = Open(to);
        byte[] piece = new byte[PieceSize];
        long length = Math.Min(source.Length, target.Length);
        for (long at = 0; at < length; at += PieceSize)
        {
            cancellation.ThrowIfCancellationRequested();
            Span<byte> bytes = piece.AsSpan(0, (int)Math.Min(PieceSize, length - at));
            source.Read(at, bytes);
            Write(target, at, bytes);
        }
    }

    // Zeros where nothing is stored need not be stored.
    private void Write(ForkStorage target, long at, ReadOnlySpan<byte> bytes)
    {
        if (bytes.ContainsAnyExcept((byte)0) || target.GetExtents(at, bytes.Length).Any(e => e.Kind == ExtentKind.Data))
            target.Write(at, bytes);
        _onMoved(_moved += bytes.Length);
    }
}
