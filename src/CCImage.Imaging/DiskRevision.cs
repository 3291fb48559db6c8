using CCImage.Storage;

namespace CCImage;

/// <summary>
/// How a disk that is computed while it is copied has its last word: some of its metadata follow from what reading the content gave. They
/// are copied as planned, in their place, and what has become different by the end is written once more.
/// </summary>
/// <param name="Ranges">Where the disk may become different, ascending and apart.</param>
/// <param name="Settle">
/// Called once, when all has been copied: decides, and gives the ranges that read differently from now on, ascending and apart, each inside
/// one of
/// <paramref name="Ranges"/>. Until then the ranges read as planned.
/// </param>
internal sealed record DiskRevision(IReadOnlyList<StorageExtent> Ranges, Func<IReadOnlyList<StorageExtent>> Settle);
