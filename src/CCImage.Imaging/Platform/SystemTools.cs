using System.ComponentModel;
using System.Diagnostics;

namespace CCImage.Platform;

/// <summary>How a program of the system ended.</summary>
/// <param name="ExitCode">Its exit code.</param>
/// <param name="Output">What it wrote to its standard output.</param>
/// <param name="Error">What it wrote to its standard error.</param>
internal sealed record ToolResult(int ExitCode, byte[] Output, string Error);

/// <summary>Runs programs of the system; a test puts its own in front.</summary>
internal interface ISystemTools
{
    /// <summary>The major version of macOS.</summary>
    int MacVersion { get; }

    /// <summary>Runs a program to its end.</summary>
    /// <param name="program">Full path.</param>
    /// <param name="arguments">The arguments, each as the program gets it: no shell is between.</param>
    /// <param name="input">What it reads from its standard input, to the end of file. The only way for a secret.</param>
    /// <param name="cancellation">Ends the program.</param>
    /// <returns>Null when the program is not there.</returns>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    ToolResult? Run(string program, IReadOnlyList<string> arguments, ReadOnlySpan<byte> input, CancellationToken cancellation);

    /// <summary>Waits before something is tried again.</summary>
    /// <param name="duration">How long.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="OperationCanceledException">It was ended.</exception>
    void Wait(TimeSpan duration, CancellationToken cancellation);
}

/// <summary>The programs of this machine.</summary>
internal sealed class SystemTools : ISystemTools
{
    /// <summary>The one there is.</summary>
    public static SystemTools Instance { get; } = new();

    /// <inheritdoc/>
    public int MacVersion => OperatingSystem.IsMacOS() ? Environment.OSVersion.Version.Major : 0;

    /// <inheritdoc/>
    public ToolResult? Run(string program, IReadOnlyList<string> arguments, ReadOnlySpan<byte> input, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(
            program) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            return null;
        }

        using (process)
        {
            using var output = new MemoryStream();
            Task copy = process.StandardOutput.BaseStream.CopyToAsync(output, CancellationToken.None);
            Task<string> error = process.StandardError.ReadToEndAsync(CancellationToken.None);
            Write(process, input);
            try
            {
                process.WaitForExitAsync(cancellation).GetAwaiter().GetResult();
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
                throw;
            }

            copy.GetAwaiter().GetResult();
            return new(process.ExitCode, output.ToArray(), error.GetAwaiter().GetResult());
        }
    }

    /// <inheritdoc/>
    public void Wait(TimeSpan duration, CancellationToken cancellation)
    {
        if (cancellation.WaitHandle.WaitOne(duration)) throw new OperationCanceledException(cancellation);
    }

    // Past the text writer, which would keep a copy in its buffer.
    private static void Write(Process process, ReadOnlySpan<byte> input)
    {
        try
        {
            Stream stream = process.StandardInput.BaseStream;
            stream.Write(input);
            stream.Flush();
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It ended without reading; its exit code and its words say why.
        }
    }
}
