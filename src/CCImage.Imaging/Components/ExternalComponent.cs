using System.Reflection;

namespace CCImage.Components;

/// <summary>
/// Finds what the core takes from third-party packages. The core names none of them: the one assembly that does (<c>CCImage.Private</c>)
/// implements interfaces that the core declares, and is found by name. Nothing is loaded before the first use.
/// </summary>
internal static class ExternalComponent
{
    /// <summary>Makes an implementation.</summary>
    /// <param name="typeName">The class in the private assembly.</param>
    /// <param name="what">What it is, for the error ("the bzip2 codec").</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/> when the assembly is not there.</exception>
    public static T Load<T>(string typeName, string what)
        where T : class => Load<T>(typeName, what, PrivateLoadContext.Locate);

    /// <summary>Makes an implementation from whatever assembly the locator answers with.</summary>
    /// <param name="typeName">The class.</param>
    /// <param name="what">What it is.</param>
    /// <param name="locate">Returns the assembly, or null.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ComponentMissing"/>.</exception>
    internal static T Load<T>(string typeName, string what, Func<Assembly?> locate)
        where T : class
    {
        Exception? cause = null;
        try
        {
            Type? type = locate()?.GetType(typeName, throwOnError: false);
            if (type is not null && Activator.CreateInstance(type) is T component) return component;
        }
        catch (Exception e) when (e is IOException or BadImageFormatException or TypeLoadException or TargetInvocationException)
        {
            cause = e;
        }

        throw new ImageException(
            ImageErrorId.ComponentMissing,
            $"The assembly {PrivateLoadContext.AssemblyName}, which holds {what}, is not where the program was installed.",
            remedy: "Install the module again, with its folder bin/private.",
            innerException: cause);
    }
}
