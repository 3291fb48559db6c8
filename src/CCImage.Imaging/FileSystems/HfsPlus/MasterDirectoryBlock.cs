using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>
/// The master directory block of classic HFS (162 bytes at byte 1024): enough of it to recognise the volume and to find an HFS+ volume
/// embedded in it. Source: Inside Macintosh: Files, and TN1150, "HFS Wrapper". Big-endian.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct MasterDirectoryBlock
{
    /// <summary>'BD'.</summary>
    public UInt16BE Signature;

    /// <summary>Seconds since 1904, local time.</summary>
    public UInt32BE CreateDate;

    public UInt32BE ModifyDate;
    public UInt16BE Attributes;
    public UInt16BE RootFileCount;
    public UInt16BE BitmapSector;
    public UInt16BE NextAllocation;

    /// <summary>Allocation blocks.</summary>
    public UInt16BE BlockCount;

    /// <summary>Bytes in an allocation block.</summary>
    public UInt32BE BlockSize;

    public UInt32BE ClumpSize;

    /// <summary>Sector of the first allocation block.</summary>
    public UInt16BE FirstBlockSector;

    public UInt32BE NextCatalogId;
    public UInt16BE FreeBlocks;

    /// <summary>Length, then at most 27 characters in Mac Roman.</summary>
    public PascalName27 Name;

    /// <summary>Backup date, write count, clump sizes, counts of files and folders, Finder info: not needed here.</summary>
    public WrapperFields Unused;

    /// <summary>'H+' or 'HX' when there is an embedded volume.</summary>
    public UInt16BE EmbeddedSignature;

    /// <summary>Its first allocation block.</summary>
    public UInt16BE EmbeddedStart;

    /// <summary>Its allocation blocks.</summary>
    public UInt16BE EmbeddedCount;
}

/// <summary>A length and 27 characters.</summary>
[InlineArray(28)]
internal struct PascalName27
{
    private byte _first;
}

/// <summary>The 60 bytes between name and embedded volume.</summary>
[InlineArray(60)]
internal struct WrapperFields
{
    private byte _first;
}
