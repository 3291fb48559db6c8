using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using CCImage.Binary;
using CCImage.Diagnostics;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// Judges the journal of a volume: info block, header, and that both are the files the catalog shows. Source: TN1150, "Journal"; Apple's
/// hfs_journal.h. fsck_hfs looks at none of it when the volume was unmounted properly.
/// </summary>
/// <param name="volume">The volume.</param>
/// <param name="findings">Receives what is found.</param>
internal sealed class JournalChecker(HfsPlusVolume volume, ImageFindings findings)
{
    private const uint InVolume = 1, NeedsInitialising = 4;

    private JournalInfoBlock _info;

    /// <summary>Whether the journal may hold changes that are not yet in their places.</summary>
    public bool MayHoldChanges { get; private set; }

    /// <summary>The blocks of info block and journal, as far as they can be believed.</summary>
    public List<UsedRun> Runs { get; } = [];

    /// <summary>Judges info block and header.</summary>
    public void Run()
    {
        if (!volume.IsJournaled) return;
        BlockStorage storage = volume.Storage;
        long infoOffset = InfoOffset;
        if (volume.Header.JournalInfoBlock == 0 || infoOffset > storage.Length - Unsafe.SizeOf<JournalInfoBlock>())
        {
            Fault($"The volume is journaled, but its journal info block is {volume.Header.JournalInfoBlock}.");
            return;
        }

        storage.Read(infoOffset, Layout.AsBytes(ref _info));
        if (volume.Header.JournalInfoBlock < volume.Header.TotalBlocks)
            Runs.Add(new UsedRun(volume.Header.JournalInfoBlock, 1, 0, BlockUse.Reserved));
        uint flags = _info.Flags;
        if ((flags & InVolume) == 0)
        {
            MayHoldChanges = true;
            findings.Note(
                HfsPlusCheckNames.Journal, "The journal is kept on another device: whether it holds changes cannot be told.", Place);
            return;
        }

        long capacity = volume.CapacityBytes;
        if (_info.Offset == 0 || _info.Offset % volume.Header.BlockSize != 0 || _info.Size < 2 * 512 || _info.Offset > (ulong)capacity
            || _info.Size > (ulong)capacity - _info.Offset)
        {
            Fault($"The journal of {_info.Size} bytes at byte {_info.Offset} is not inside the volume.");
            return;
        }

        uint blockSize = volume.Header.BlockSize;
        Runs.Add(new UsedRun(
            (uint)(_info.Offset / blockSize), (uint)Layout.DivideUp((long)(ulong)_info.Size, blockSize), 0, BlockUse.Reserved));
        if ((flags & NeedsInitialising) != 0 && !IsCleanHeader(storage))
        {
            findings.Note(HfsPlusCheckNames.Journal,
                "The journal is not initialised yet; a Mac does that when it first writes to the volume, and will not attach it read-only "
                    + "before.",
                Place);
        }
        else if ((flags & NeedsInitialising) == 0)
        {
            CheckHeader(storage);
        }
    }

    /// <summary>Compares the journal's places with the two files in the root folder.</summary>
    /// <param name="journal">Data fork of <c>.journal</c>, or null when there is no such file.</param>
    /// <param name="infoBlock">Data fork of <c>.journal_info_block</c>, or null when there is no such file.</param>
    public void CheckFiles(ForkData? journal, ForkData? infoBlock)
    {
        if (!volume.IsJournaled || (_info.Flags & InVolume) == 0) return;
        if (infoBlock is not ForkData info || info.Extents[0].StartBlock != volume.Header.JournalInfoBlock)
            Fault("The file .journal_info_block is not where the volume header says: the block may be given to another file.");
        if (journal is not ForkData data || (ulong)data.Extents[0].StartBlock * volume.Header.BlockSize != _info.Offset
            || data.LogicalSize != _info.Size)
            Fault("The file .journal is not where the journal info block says: its blocks may be given to another file.");
    }

    private long InfoOffset => (long)volume.Header.JournalInfoBlock * volume.Header.BlockSize;

    private string Place => $"journal info block at byte {InfoOffset} of the volume";

    private void CheckHeader(BlockStorage storage)
    {
        JournalHeader header = default;
        Span<byte> bytes = Layout.AsBytes(ref header);
        storage.Read((long)(ulong)_info.Offset, bytes);
        bool isBig = BinaryPrimitives.ReadUInt32BigEndian(bytes) == JournalHeader.MagicValue;
        uint Word(ReadOnlySpan<byte> b) => isBig ? BinaryPrimitives.ReadUInt32BigEndian(b) : BinaryPrimitives.ReadUInt32LittleEndian(b);
        ulong Long(ReadOnlySpan<byte> b) => isBig ? BinaryPrimitives.ReadUInt64BigEndian(b) : BinaryPrimitives.ReadUInt64LittleEndian(b);
        if (Word(bytes) != JournalHeader.MagicValue || Word(bytes[4..]) != JournalHeader.EndianValue)
        {
            MayHoldChanges = true;
            HeaderFault("lacks its signature");
            return;
        }

        ulong start = Long(bytes[8..]), end = Long(bytes[16..]), size = Long(bytes[24..]);
        uint blockListSize = Word(bytes[32..]), checksum = Word(bytes[36..]), headerSize = Word(bytes[40..]);
        MayHoldChanges = start != end;
        bytes[36..40].Clear();
        if (JournalHeader.ComputeChecksum(bytes[..JournalHeader.ChecksummedSize]) != checksum) HeaderFault("has a wrong checksum");
        if (size != _info.Size) HeaderFault($"claims {size} bytes where the info block claims {_info.Size}");
        if (headerSize < 512 || headerSize > 65536 || (headerSize & (headerSize - 1)) != 0)
            HeaderFault($"claims a header of {headerSize} bytes");
        else if (start < headerSize || start > size || end < headerSize || end > size)
            HeaderFault($"names changes from {start} to {end} in a journal of {size} bytes");
        if (blockListSize == 0 || blockListSize > size) HeaderFault($"claims block lists of {blockListSize} bytes");
        if (!MayHoldChanges) return;
        findings.Note(HfsPlusCheckNames.Journal,
            "The journal holds changes that a Mac puts in their places when it attaches the volume; until then other structures may lag "
                + "behind.", $"journal at byte {_info.Offset} of the volume",
            "Attach the image once on a Mac and eject it.");
    }

    // A volume that was made smaller may have the header of its old journal, with its checksum and empty, beside the flag that asks for a
    // new one. Sizes are then those of the old one.
    private bool IsCleanHeader(BlockStorage storage)
    {
        JournalHeader header = default;
        Span<byte> bytes = Layout.AsBytes(ref header);
        storage.Read((long)(ulong)_info.Offset, bytes);
        bool isBig = BinaryPrimitives.ReadUInt32BigEndian(bytes) == JournalHeader.MagicValue;
        uint Word(ReadOnlySpan<byte> b) => isBig ? BinaryPrimitives.ReadUInt32BigEndian(b) : BinaryPrimitives.ReadUInt32LittleEndian(b);
        if (Word(bytes) != JournalHeader.MagicValue || Word(bytes[4..]) != JournalHeader.EndianValue
            || !bytes[8..16].SequenceEqual(bytes[16..24])) return false;
        uint checksum = Word(bytes[36..]);
        bytes[36..40].Clear();
        return JournalHeader.ComputeChecksum(bytes[..JournalHeader.ChecksummedSize]) == checksum;
    }

    private void HeaderFault(string fault) =>
        findings.Damaged(HfsPlusCheckNames.Journal,
            $"The journal's header {fault}: a Mac may refuse the volume.", $"journal at byte {_info.Offset} of the volume");

    private void Fault(string message)
    {
        MayHoldChanges = true;
        findings.Damaged(HfsPlusCheckNames.Journal, message, Place);
    }
}
