namespace CCImage.FileSystems.HfsPlus;

/// <summary>Where a record lies; becomes text only when there is something to say about it.</summary>
/// <param name="Tree">Name of the B-tree; null for the forks of the volume header.</param>
/// <param name="Node">Number of the leaf.</param>
/// <param name="Index">Record in it, from 0.</param>
/// <param name="Id">Catalog node id it is about.</param>
internal readonly record struct RecordPlace(string? Tree, uint Node, int Index, uint Id)
{
    /// <inheritdoc/>
    public override string ToString() =>
        Tree is null ? $"volume header, special file {Id}" : $"{Tree} B-tree node {Node}, record {Index}, id {Id}";
}
