namespace CCImage.FileSystems.HfsPlus;

/// <summary>What the checks of an HFS+ volume are called in findings. Scripts may filter by them: names are added, not changed.</summary>
internal static class HfsPlusCheckNames
{
    public const string Header = "HFS+ volume header";
    public const string AlternateHeader = "HFS+ alternate volume header";
    public const string Counts = "HFS+ counts of the volume header";
    public const string TreeHeader = "HFS+ B-tree header";
    public const string TreeNodes = "HFS+ B-tree nodes";
    public const string TreeLinks = "HFS+ B-tree sibling links";
    public const string TreeIndex = "HFS+ B-tree index";
    public const string TreeOrder = "HFS+ B-tree key order";
    public const string TreeMap = "HFS+ B-tree node map";
    public const string CatalogRecords = "HFS+ catalog records";
    public const string CatalogIds = "HFS+ catalog ids";
    public const string Threads = "HFS+ catalog threads";
    public const string Folders = "HFS+ folder hierarchy";
    public const string FolderCounts = "HFS+ counts of folders";
    public const string Names = "HFS+ names";
    public const string Modes = "HFS+ file modes";
    public const string SymbolicLinks = "HFS+ symbolic links";
    public const string HardLinks = "HFS+ hard links";
    public const string Extents = "HFS+ extents";
    public const string ForkSizes = "HFS+ fork sizes";
    public const string OverflowExtents = "HFS+ overflow extents";
    public const string SharedBlocks = "HFS+ blocks used twice";
    public const string Bitmap = "HFS+ allocation bitmap";
    public const string FreeCount = "HFS+ free block count";
    public const string Attributes = "HFS+ extended attributes";
    public const string AttributeFlags = "HFS+ attribute flags";
    public const string Journal = "HFS+ journal";
}
