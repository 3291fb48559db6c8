using System.Management.Automation;
using System.Reflection;
using System.Runtime.Loader;
using CCImage.Components;

namespace CCImage;

/// <summary>Answers the runtime's question for exactly one assembly, the private one, as long as the module is imported.</summary>
public sealed class ModuleInitializer : IModuleAssemblyInitializer, IModuleAssemblyCleanup
{
    /// <inheritdoc/>
    public void OnImport() => AssemblyLoadContext.Default.Resolving += Resolve;

    /// <inheritdoc/>
    public void OnRemove(PSModuleInfo psModuleInfo) => AssemblyLoadContext.Default.Resolving -= Resolve;

    private static Assembly? Resolve(AssemblyLoadContext context, AssemblyName name) =>
        name.Name == PrivateLoadContext.AssemblyName ? PrivateLoadContext.LoadFromPrivateFolder() : null;
}
