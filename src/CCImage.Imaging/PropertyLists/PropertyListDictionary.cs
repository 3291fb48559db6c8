using System.Collections;

namespace CCImage.PropertyLists;

/// <summary>
/// A <c>dict</c>: keys in the order in which they were added or read, so that what is read and written again has the same bytes.
/// The typed getters give null both for an absent key and for a value of another type: the caller says what is missing.
/// </summary>
internal sealed record PropertyListDictionary : PropertyListNode, IEnumerable<KeyValuePair<string, PropertyListNode>>
{
    private readonly OrderedDictionary<string, PropertyListNode> _values = new(StringComparer.Ordinal);

    /// <summary>The number of keys.</summary>
    public int Count => _values.Count;

    /// <summary>The value of a key, null when absent. Setting keeps a key's place, or adds it last.</summary>
    /// <param name="key">The key.</param>
    public PropertyListNode? this[string key]
    {
        get => _values.GetValueOrDefault(key);
        set => _values[key] = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>Adds a key at the end.</summary>
    /// <param name="key">The key.</param>
    /// <param name="value">Its value.</param>
    /// <exception cref="ArgumentException">The key exists.</exception>
    public void Add(string key, PropertyListNode value) => _values.Add(key, value);

    /// <summary>The string of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public string? GetString(string key) => (this[key] as PropertyListString)?.Value;

    /// <summary>The integer of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public long? GetInteger(string key) => (this[key] as PropertyListInteger)?.Value;

    /// <summary>The Boolean of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public bool? GetBoolean(string key) => (this[key] as PropertyListBoolean)?.Value;

    /// <summary>The data of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public byte[]? GetData(string key) => (this[key] as PropertyListData)?.Value;

    /// <summary>The dictionary of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public PropertyListDictionary? GetDictionary(string key) => this[key] as PropertyListDictionary;

    /// <summary>The items of the array of a key, or null.</summary>
    /// <param name="key">The key.</param>
    public IReadOnlyList<PropertyListNode>? GetArray(string key) => (this[key] as PropertyListArray)?.Items;

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, PropertyListNode>> GetEnumerator() => _values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
