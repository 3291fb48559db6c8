namespace CCImage.PropertyLists;

/// <summary>A value in a property list. Strings, integers, Booleans and data convert to it implicitly.</summary>
internal abstract record PropertyListNode
{
    public static implicit operator PropertyListNode(string value) => new PropertyListString(value);

    public static implicit operator PropertyListNode(long value) => new PropertyListInteger(value);

    public static implicit operator PropertyListNode(bool value) => value ? PropertyListBoolean.True : PropertyListBoolean.False;

    public static implicit operator PropertyListNode(byte[] value) => new PropertyListData(value);
}

/// <summary>A <c>string</c>.</summary>
/// <param name="Value">The text.</param>
internal sealed record PropertyListString(string Value) : PropertyListNode;

/// <summary>An <c>integer</c>.</summary>
/// <param name="Value">Of 64 bits, signed; larger ones are refused by the reader.</param>
internal sealed record PropertyListInteger(long Value) : PropertyListNode;

/// <summary>A <c>real</c>.</summary>
/// <param name="Value">The number.</param>
internal sealed record PropertyListReal(double Value) : PropertyListNode;

/// <summary>A <c>true</c> or <c>false</c>.</summary>
/// <param name="Value">The truth.</param>
internal sealed record PropertyListBoolean(bool Value) : PropertyListNode
{
    /// <summary>The one <c>true</c>.</summary>
    public static PropertyListBoolean True { get; } = new(true);

    /// <summary>The one <c>false</c>.</summary>
    public static PropertyListBoolean False { get; } = new(false);
}

/// <summary>A <c>date</c>.</summary>
/// <param name="Value">In UTC; written to the second.</param>
internal sealed record PropertyListDate(DateTime Value) : PropertyListNode;

/// <summary>A <c>data</c>.</summary>
/// <param name="Value">The bytes.</param>
internal sealed record PropertyListData(byte[] Value) : PropertyListNode;

/// <summary>An <c>array</c>.</summary>
/// <param name="Items">Its values in order.</param>
internal sealed record PropertyListArray(IReadOnlyList<PropertyListNode> Items) : PropertyListNode;
