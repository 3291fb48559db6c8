using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.Containers.SparseImage;

/// <summary>
/// The first 4,096 bytes of a sparse image: header and the table of the first 1,008 slots. Field by field in
/// <c>docs/formats/sparseimage.md</c>; seen in images of Apple's tools, except the index nodes.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct SparseImageHeader
{
    /// <summary>'sprs', as a big-endian number.</summary>
    public const uint ExpectedSignature = 0x73707273;

    /// <summary>The one version seen.</summary>
    public const uint ExpectedVersion = 3;

    /// <summary>Bytes of a node: of this one and of every further one.</summary>
    public const int NodeSize = 4096;

    /// <summary>Slots in the first node.</summary>
    public const int SlotCount = 1008;

    /// <summary><see cref="ExpectedSignature"/>.</summary>
    public UInt32BE Signature;

    /// <summary><see cref="ExpectedVersion"/>.</summary>
    public UInt32BE Version;

    /// <summary>Sectors of 512 bytes in a band; 2,048 in all images seen.</summary>
    public UInt32BE SectorsPerBand;

    /// <summary>1 in all images seen; meaning unknown.</summary>
    public UInt32BE Flags;

    /// <summary>The lower half of <see cref="TotalSectors"/>.</summary>
    public UInt32BE TotalSectorsLow;

    /// <summary>Byte of the file where the first index node begins; 0 for none.</summary>
    public UInt64BE NextNodeOffset;

    /// <summary>Sectors of the disk.</summary>
    public UInt64BE TotalSectors;

    /// <summary>Zeros.</summary>
    public ReservedBytes Reserved;

    /// <summary>Of each slot 1 + the number of the band stored in it; 0 for a slot without a band.</summary>
    public SlotTable Slots;

    /// <summary>28 bytes.</summary>
    [InlineArray(28)]
    public struct ReservedBytes
    {
        private byte _first;
    }

    /// <summary>The table.</summary>
    [InlineArray(SlotCount)]
    public struct SlotTable
    {
        private UInt32BE _first;
    }
}

/// <summary>
/// A further node of 4,096 bytes, behind the bands of the node before it and before its own. No image of Apple's with one is at hand:
/// known from the public readers apfs-fuse, mac_apt and fsdump, which agree.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct SparseImageIndexNode
{
    /// <summary>Slots in the node.</summary>
    public const int SlotCount = 1010;

    /// <summary><see cref="SparseImageHeader.ExpectedSignature"/>.</summary>
    public UInt32BE Signature;

    /// <summary>Its number. That the first is 0 is a guess.</summary>
    public UInt32BE Number;

    /// <summary>1, as in the header: a guess.</summary>
    public UInt32BE Flags;

    /// <summary>Byte of the file where the next index node begins; 0 for none.</summary>
    public UInt64BE NextNodeOffset;

    /// <summary>Zeros.</summary>
    public ReservedBytes Reserved;

    /// <summary>As in the header.</summary>
    public SlotTable Slots;

    /// <summary>36 bytes.</summary>
    [InlineArray(36)]
    public struct ReservedBytes
    {
        private byte _first;
    }

    /// <summary>The table.</summary>
    [InlineArray(SlotCount)]
    public struct SlotTable
    {
        private UInt32BE _first;
    }
}
