using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace CCImage.Platform;

/// <summary>
/// The keychain of macOS, by Security.framework. An item is a generic password as the system makes them for disk images, in the default
/// keychain (a file, <c>login.keychain-db</c>): that is where the system looks, so the data protection keychain is of no use. Signatures,
/// constants and status numbers are those of SecItem.h, SecAccess.h, SecTrustedApplication.h and SecBase.h (Security-61901) and of
/// CoreFoundation's headers.
/// </summary>
internal sealed class MacKeychain : IKeychain
{
    /// <summary>The kind of item, as the system's own have it.</summary>
    private const string Description = "disk image password";

    // SecBase.h
    private const int Success = 0;
    private const int UserCancelled = -128;
    private const int NotAvailable = -25291;
    private const int ReadOnly = -25292;
    private const int AuthenticationFailed = -25293;
    private const int NoSuchKeychain = -25294;
    private const int NotFound = -25300;
    private const int NoDefaultKeychain = -25307;
    private const int InteractionNotAllowed = -25308;
    private const int InteractionRequired = -25315;

    /// <summary>
    /// The system's programs that may read an item without being asked about, beside the one that saves it. Seen in use is the first; the
    /// others attach images in newer systems (a guess). Those that a system lacks are passed over.
    /// </summary>
    private static readonly string[] s_trusted =
    [
        "/System/Library/PrivateFrameworks/DiskImages.framework/Versions/A/Resources/diskimages-helper",
        "/System/Library/PrivateFrameworks/DiskImages2.framework/Versions/A/XPCServices/diskimagescontroller.xpc",
        "/System/Library/CoreServices/DiskImageMounter.app",
        "/System/Applications/Utilities/Disk Utility.app",
        "/usr/bin/hdiutil",
        "/usr/libexec/diskimagesiod",
    ];

    /// <inheritdoc/>
    public unsafe void Save(string account, string name, ReadOnlySpan<byte> secret)
    {
        using var made = new CoreObjects();
        fixed (byte* bytes = secret)
        {
            // Not copied: what is pinned here stays the only copy on our side. Nobody keeps the object after the call.
            nint data = made.DataOver(bytes, secret.Length);
            (nint, nint)[] key = KeyOf(account, made);
            int status = SecurityCalls.Update(made.Dictionary(key), made.Dictionary([(CoreObjects.Security("kSecValueData"), data)]));
            if (status == NotFound)
            {
                nint label = made.Text(name);
                nint item = made.Dictionary(
                [
                    .. key,
                    (CoreObjects.Security("kSecAttrService"), label),
                    (CoreObjects.Security("kSecAttrLabel"), label),
                    (CoreObjects.Security("kSecAttrDescription"), made.Text(Description)),
                    (CoreObjects.Security("kSecAttrAccess"), MakeAccess(label, made)),
                    (CoreObjects.Security("kSecValueData"), data),
                ]);
                status = SecurityCalls.Add(item, 0);
            }

            Check(status);
        }
    }

    /// <inheritdoc/>
    public unsafe byte[]? Find(string account)
    {
        using var made = new CoreObjects();
        nint query = made.Dictionary(
        [
            .. KeyOf(account, made),
            (CoreObjects.Security("kSecMatchLimit"), CoreObjects.Security("kSecMatchLimitOne")),
            (CoreObjects.Security("kSecReturnData"), CoreObjects.True),
        ]);
        int status = SecurityCalls.CopyMatching(query, out nint data);
        if (status == NotFound) return null;
        Check(status);
        Span<byte> found = made.BytesOf(data);
        try
        {
            byte[] secret = GC.AllocateUninitializedArray<byte>(found.Length, pinned: true);
            found.CopyTo(secret);
            return secret;
        }
        finally
        {
            // The object is a copy made for this call.
            CryptographicOperations.ZeroMemory(found);
        }
    }

    /// <summary>What a status number means, as a refusal in words; the number is in them for whoever looks it up.</summary>
    /// <param name="status">An OSStatus other than 0.</param>
    internal static HostException FailureOf(int status) => status switch
    {
        UserCancelled => new(HostFailure.AccessDenied, "The question of the keychain was answered with no."),
        AuthenticationFailed => new(HostFailure.AccessDenied, "The keychain does not give this program access."),
        InteractionNotAllowed or InteractionRequired =>
            new(HostFailure.AccessDenied, "The keychain is locked, or wants to ask, and there is no screen in this session (unlock it "
                + "with: security unlock-keychain)."),
        ReadOnly => new(HostFailure.ReadOnly, "The keychain cannot be changed."),
        NotAvailable or NoSuchKeychain or NoDefaultKeychain => new(HostFailure.NotFound, $"This user has no keychain ({status})."),
        _ => new(HostFailure.Other, $"The keychain answers with status {status}."),
    };

    private static void Check(int status)
    {
        if (status != Success) throw FailureOf(status);
    }

    /// <summary>What an item is found by, in the file-based keychains only: unless told so, a query goes to both kinds.</summary>
    private static (nint Key, nint Value)[] KeyOf(string account, CoreObjects made) =>
    [
        (CoreObjects.Security("kSecClass"), CoreObjects.Security("kSecClassGenericPassword")),
        (CoreObjects.Security("kSecAttrAccount"), made.Text(account)),
        (CoreObjects.Security("kSecUseDataProtectionKeychain"), CoreObjects.False),
    ];

    /// <summary>This program, and the system's that attach images. Beside this list the system keeps one of vendors, to which it adds its
    /// own only when asked.</summary>
    private static nint MakeAccess(nint label, CoreObjects made)
    {
        Check(SecurityCalls.MakeTrustedApplication(null, out nint self));
        List<nint> applications = [made.Own(self)];
        foreach (string path in s_trusted)
        {
            if (Path.Exists(path) && SecurityCalls.MakeTrustedApplication(path, out nint application) == Success)
                applications.Add(made.Own(application));
        }

        Check(SecurityCalls.MakeAccess(label, made.List([.. applications]), out nint access));
        return made.Own(access);
    }
}

/// <summary>Objects of CoreFoundation that were made for a call, released together.</summary>
internal sealed unsafe class CoreObjects : IDisposable
{
    private static readonly nint s_core = NativeLibrary.Load(CoreFoundationCalls.Library);
    private static readonly nint s_security = NativeLibrary.Load(SecurityCalls.Library);
    private readonly Stack<nint> _made = new();

    /// <summary>kCFBooleanTrue.</summary>
    public static nint True => Constant(s_core, "kCFBooleanTrue");

    /// <summary>kCFBooleanFalse.</summary>
    public static nint False => Constant(s_core, "kCFBooleanFalse");

    /// <summary>A constant object of Security.framework, by its name in the headers.</summary>
    /// <param name="name">The name.</param>
    public static nint Security(string name) => Constant(s_security, name);

    /// <summary>Takes over an object that is the caller's to release.</summary>
    /// <param name="reference">The object; not null.</param>
    public nint Own(nint reference)
    {
        if (reference == 0) throw new HostException(HostFailure.Other, "CoreFoundation has no memory.");
        _made.Push(reference);
        return reference;
    }

    /// <summary>A CFString.</summary>
    /// <param name="text">The text.</param>
    public nint Text(string text)
    {
        fixed (char* characters = text) return Own(CoreFoundationCalls.MakeString(0, characters, text.Length));
    }

    /// <summary>A CFData over bytes that are neither copied nor freed by it.</summary>
    /// <param name="bytes">The bytes, which stay where they are until this is disposed.</param>
    /// <param name="length">How many.</param>
    public nint DataOver(byte* bytes, int length) =>
        Own(CoreFoundationCalls.MakeDataNoCopy(0, bytes, length, Constant(s_core, "kCFAllocatorNull")));

    /// <summary>A CFDictionary.</summary>
    /// <param name="entries">Keys and values, retained by it.</param>
    public nint Dictionary(ReadOnlySpan<(nint Key, nint Value)> entries)
    {
        Span<nint> keys = stackalloc nint[entries.Length], values = stackalloc nint[entries.Length];
        for (int i = 0; i < entries.Length; i++) (keys[i], values[i]) = entries[i];
        fixed (nint* k = keys, v = values)
        {
            return Own(CoreFoundationCalls.MakeDictionary(
                0, k, v, entries.Length, NativeLibrary.GetExport(s_core, "kCFTypeDictionaryKeyCallBacks"),
                NativeLibrary.GetExport(s_core, "kCFTypeDictionaryValueCallBacks")));
        }
    }

    /// <summary>A CFArray.</summary>
    /// <param name="items">The items, retained by it.</param>
    public nint List(ReadOnlySpan<nint> items)
    {
        fixed (nint* first = items) return Own(
            CoreFoundationCalls.MakeArray(0, first, items.Length, NativeLibrary.GetExport(s_core, "kCFTypeArrayCallBacks")));
    }

    /// <summary>Takes over an object that must be a CFData.</summary>
    /// <param name="data">The object.</param>
    /// <returns>Its bytes, until this is disposed.</returns>
    public Span<byte> BytesOf(nint data)
    {
        Own(data);
        if (CoreFoundationCalls.GetKind(data) != CoreFoundationCalls.GetKindOfData())
            throw new HostException(HostFailure.Other, "The keychain gives something else than bytes.");
        return new Span<byte>(CoreFoundationCalls.GetBytes(data), checked((int)CoreFoundationCalls.GetLength(data)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_made.TryPop(out nint reference)) CoreFoundationCalls.Release(reference);
    }

    // The symbol is a variable that holds the object.
    private static nint Constant(nint library, string name) => *(nint*)NativeLibrary.GetExport(library, name);
}

/// <summary>Calls of Security.framework. None is variadic; CFTypeRef and its kin are pointers, OSStatus is an SInt32.</summary>
internal static partial class SecurityCalls
{
    public const string Library = "/System/Library/Frameworks/Security.framework/Security";

    // OSStatus SecItemAdd(CFDictionaryRef attributes, CFTypeRef * __nullable CF_RETURNS_RETAINED result)
    [LibraryImport(Library, EntryPoint = "SecItemAdd")]
    public static partial int Add(nint attributes, nint result);

    // OSStatus SecItemUpdate(CFDictionaryRef query, CFDictionaryRef attributesToUpdate)
    [LibraryImport(Library, EntryPoint = "SecItemUpdate")]
    public static partial int Update(nint query, nint attributesToUpdate);

    // OSStatus SecItemCopyMatching(CFDictionaryRef query, CFTypeRef * __nullable CF_RETURNS_RETAINED result)
    [LibraryImport(Library, EntryPoint = "SecItemCopyMatching")]
    public static partial int CopyMatching(nint query, out nint result);

    // OSStatus SecTrustedApplicationCreateFromPath(const char * __nullable path, SecTrustedApplicationRef * __nonnull CF_RETURNS_RETAINED
    // app)
    [LibraryImport(Library, EntryPoint = "SecTrustedApplicationCreateFromPath", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int MakeTrustedApplication(string? path, out nint application);

    // OSStatus SecAccessCreate(CFStringRef descriptor, CFArrayRef __nullable trustedlist, SecAccessRef * __nonnull CF_RETURNS_RETAINED
    // accessRef)
    [LibraryImport(Library, EntryPoint = "SecAccessCreate")]
    public static partial int MakeAccess(nint descriptor, nint trustedList, out nint access);
}

/// <summary>Calls of CoreFoundation. CFIndex is a signed long, CFTypeID an unsigned one: 64 bits on both processors.</summary>
internal static unsafe partial class CoreFoundationCalls
{
    public const string Library = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation";

    // CFStringRef CFStringCreateWithCharacters(CFAllocatorRef alloc, const UniChar *chars, CFIndex numChars)
    [LibraryImport(Library, EntryPoint = "CFStringCreateWithCharacters")]
    public static partial nint MakeString(nint allocator, char* characters, nint count);

    // CFDataRef CFDataCreateWithBytesNoCopy(CFAllocatorRef allocator, const UInt8 *bytes, CFIndex length, CFAllocatorRef bytesDeallocator)
    [LibraryImport(Library, EntryPoint = "CFDataCreateWithBytesNoCopy")]
    public static partial nint MakeDataNoCopy(nint allocator, byte* bytes, nint length, nint deallocator);

    // CFDictionaryRef CFDictionaryCreate(CFAllocatorRef allocator, const void **keys, const void **values, CFIndex numValues,
    //     const CFDictionaryKeyCallBacks *keyCallBacks, const CFDictionaryValueCallBacks *valueCallBacks)
    [LibraryImport(Library, EntryPoint = "CFDictionaryCreate")]
    public static partial nint MakeDictionary(nint allocator, nint* keys, nint* values, nint count, nint keyCallBacks, nint valueCallBacks);

    // CFArrayRef CFArrayCreate(CFAllocatorRef allocator, const void **values, CFIndex numValues, const CFArrayCallBacks *callBacks)
    [LibraryImport(Library, EntryPoint = "CFArrayCreate")]
    public static partial nint MakeArray(nint allocator, nint* values, nint count, nint callBacks);

    // CFIndex CFDataGetLength(CFDataRef theData)
    [LibraryImport(Library, EntryPoint = "CFDataGetLength")]
    public static partial nint GetLength(nint data);

    // const UInt8 *CFDataGetBytePtr(CFDataRef theData)
    [LibraryImport(Library, EntryPoint = "CFDataGetBytePtr")]
    public static partial byte* GetBytes(nint data);

    // CFTypeID CFGetTypeID(CFTypeRef cf)
    [LibraryImport(Library, EntryPoint = "CFGetTypeID")]
    public static partial nuint GetKind(nint reference);

    // CFTypeID CFDataGetTypeID(void)
    [LibraryImport(Library, EntryPoint = "CFDataGetTypeID")]
    public static partial nuint GetKindOfData();

    // void CFRelease(CFTypeRef cf)
    [LibraryImport(Library, EntryPoint = "CFRelease")]
    public static partial void Release(nint reference);
}
