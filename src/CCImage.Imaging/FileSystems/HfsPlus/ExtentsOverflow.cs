using System.Runtime.CompilerServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Looks up the extents of a fork behind the eight that its record holds.</summary>
/// <param name="tree">The extents-overflow file.</param>
internal sealed class ExtentsOverflow(BTreeFile tree)
{
    /// <summary>The fork type of a data fork in a key.</summary>
    public const byte DataFork = 0;

    /// <summary>The fork type of a resource fork in a key.</summary>
    public const byte ResourceFork = 0xFF;

    /// <summary>Finds the record that begins at a block of a fork.</summary>
    /// <param name="fileId">Catalog node id of the file.</param>
    /// <param name="forkType"><see cref="DataFork"/> or <see cref="ResourceFork"/>.</param>
    /// <param name="startBlock">Block counted within the fork.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public ExtentRecord? Find(uint fileId, byte forkType, uint startBlock)
    {
        (uint, byte, uint) sought = (fileId, forkType, startBlock);
        int Compare(ReadOnlySpan<byte> bytes)
        {
            if (bytes.Length < Unsafe.SizeOf<ExtentKey>())
                throw ImageException.Damaged("The extents overflow B-tree has a key that is too short.", "extents overflow B-tree");
            ExtentKey key = Layout.Read<ExtentKey>(bytes);
            return ((uint)key.FileId, key.ForkType, (uint)key.StartBlock).CompareTo(sought);
        }

        if (tree.Find(Compare) is not var (node, index) || Compare(node.Key(index)) != 0) return null;
        ReadOnlySpan<byte> data = node.Data(index);
        return data.Length >= Unsafe.SizeOf<ExtentRecord>() ? Layout.Read<ExtentRecord>(data)
            : throw node.Damaged("has a record that is too short", index);
    }
}
