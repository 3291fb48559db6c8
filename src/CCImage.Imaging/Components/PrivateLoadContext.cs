using System.Reflection;
using System.Runtime.Loader;

namespace CCImage.Components;

/// <summary>
/// The load context of <c>CCImage.Private</c> and the packages beside it: another module of the same process may bring another version of
/// the same package, and neither sees the other's.
/// </summary>
internal sealed class PrivateLoadContext : AssemblyLoadContext
{
    /// <summary>The one assembly that is found through this context.</summary>
    public const string AssemblyName = "CCImage.Private";

    private static readonly Lock Gate = new();
    private static PrivateLoadContext? s_instance;
    private readonly string _folder;

    private PrivateLoadContext(string folder)
        : base(AssemblyName) => _folder = folder;

    /// <summary>
    /// The assembly, by the runtime's own rules first (a program that references it has it beside itself; in PowerShell the module's
    /// initializer answers), then from the folder <c>private</c> beside the core. Null where it is in neither place.
    /// </summary>
    public static Assembly? Locate()
    {
        try
        {
            return Assembly.Load(new AssemblyName(AssemblyName));
        }
        catch (FileNotFoundException)
        {
            return LoadFromPrivateFolder();
        }
    }

    /// <summary>The assembly from the folder <c>private</c> beside the core, in a context of its own; null where there is none.</summary>
    public static Assembly? LoadFromPrivateFolder()
    {
        string folder =
            Path.Combine(Path.GetDirectoryName(typeof(PrivateLoadContext).Assembly.Location) ?? AppContext.BaseDirectory, "private");
        string file = Path.Combine(folder, AssemblyName + ".dll");
        if (!File.Exists(file)) return null;
        lock (Gate)
        {
            s_instance ??= new PrivateLoadContext(folder);
            return s_instance.LoadFromAssemblyPath(file);
        }
    }

    /// <inheritdoc/>
    protected override Assembly? Load(AssemblyName assemblyName)
    {
        // What is not in the folder (the core, the runtime) comes from the default context, so that the seam's types are the same on both
        // sides.
        string file = Path.Combine(_folder, assemblyName.Name + ".dll");
        return File.Exists(file) ? LoadFromAssemblyPath(file) : null;
    }
}
