using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using CCImage.Binary;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>A catalog key, checked and decoded: parent and name as stored.</summary>
/// <param name="ParentId">Catalog node id of the folder; for a thread record, of the entry itself.</param>
/// <param name="Name">The stored UTF-16 units; empty for a thread record.</param>
internal readonly record struct CatalogRecordKey(uint ParentId, string Name)
{
    /// <summary>Reads the key of a record.</summary>
    /// <param name="node">A leaf of the catalog.</param>
    /// <param name="index">Record, from 0.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ImageDamaged"/>.</exception>
    public static CatalogRecordKey Read(BTreeNode node, int index)
    {
        ReadOnlySpan<byte> bytes = node.Key(index);
        int size = Unsafe.SizeOf<CatalogKey>();
        if (bytes.Length < size) throw node.Damaged("has a key that is too short", index);
        CatalogKey key = Layout.Read<CatalogKey>(bytes);
        if (key.NameLength > HfsPlusConstants.MaximumNameLength || key.NameLength * sizeof(char) > bytes.Length - size)
            throw node.Damaged($"has a key with a name of {key.NameLength} units", index);
        return new(key.ParentId, ReadName(bytes.Slice(size, key.NameLength * sizeof(char))));
    }

    /// <summary>Names a key of the catalog, for people.</summary>
    /// <param name="key">The key, length field included.</param>
    public static string Describe(ReadOnlySpan<byte> key)
    {
        int size = Unsafe.SizeOf<CatalogKey>();
        if (key.Length < size) return "a damaged key";
        CatalogKey fields = Layout.Read<CatalogKey>(key);
        string name = HfsPlusNames.FromDisk(ReadName(key[size..Math.Min(key.Length, size + (fields.NameLength * sizeof(char)))]));
        return name.Length == 0 ? $"folder {fields.ParentId}" : $"\"{name}\" in folder {fields.ParentId}";
    }

    /// <summary>Big-endian UTF-16 units as a string.</summary>
    /// <param name="bytes">Two bytes a unit.</param>
    public static string ReadName(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<UInt16BE> units = MemoryMarshal.Cast<byte, UInt16BE>(bytes);
        return string.Create(units.Length, units, static (target, source) =>
        {
            for (int i = 0; i < target.Length; i++) target[i] = (char)(ushort)source[i];
        });
    }
}
