using System.Management.Automation;
using System.Runtime.ExceptionServices;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Errors;
using CCImage.Parameters;
using CCImage.Pipeline;
using TerminationSignals = CCImage.Platform.TerminationSignals;

namespace CCImage.Commands;

/// <summary>
/// A cmdlet whose work runs on a thread of its own. Only the pipeline thread writes; the worker posts. When the user stops the pipeline the
/// worker is cancelled and joined before the cmdlet returns, so nothing of it goes on behind the prompt.
/// </summary>
public abstract class ImagingCommand : PSCmdlet, IDisposable
{
    private const int ProgressActivityId = 0x4343;
    private readonly CancellationTokenSource _stop = new();
    private readonly WorkerObserver _observer = new();
    private ProgressRecord? _progress;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Judges the parameters before anything is read or written. Sealed: a cmdlet adds its own check, and cannot leave out those
    /// that it shares.</summary>
    protected sealed override void BeginProcessing()
    {
        try
        {
            CheckPassphraseSource();
            CheckOwnParameters();
            if (UsesKeychain) ImageKeychain.CheckAvailable();
        }
        catch (ImageException e)
        {
            ThrowTerminatingError(ErrorMapping.ToRecord(e, null));
        }
    }

    /// <inheritdoc/>
    protected sealed override void ProcessRecord() => ProcessInput();

    /// <inheritdoc/>
    protected sealed override void EndProcessing() => Finish();

    /// <inheritdoc/>
    protected override void StopProcessing()
    {
        try
        {
            _stop.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The stop came on its own thread just after the end.
        }
    }

    /// <summary>Releases what the cmdlet holds.</summary>
    /// <param name="disposing">Always true.</param>
    protected virtual void Dispose(bool disposing)
    {
        _stop.Dispose();
        _observer.Dispose();
    }

    /// <summary>Whether the keychain is to be used at all.</summary>
    private protected virtual bool UsesKeychain => false;

    /// <summary>Refuses a passphrase that is to come from two places.</summary>
    /// <exception cref="ImageException">They contradict each other.</exception>
    private protected virtual void CheckPassphraseSource()
    {
    }

    /// <summary>The one place for what a cmdlet itself demands of its parameters and of the host, before the first input.</summary>
    /// <exception cref="ImageException">Why it cannot run: this ends the pipeline.</exception>
    private protected virtual void CheckOwnParameters()
    {
    }

    /// <summary>Does the work for one input of the pipeline.</summary>
    private protected abstract void ProcessInput();

    /// <summary>Does what is left to do after the last input.</summary>
    private protected virtual void Finish()
    {
    }

    /// <summary>Asks whether to go on, as -WhatIf and -Confirm and their preferences want it.</summary>
    /// <param name="description">What would be done.</param>
    /// <param name="warning">The question.</param>
    /// <param name="caption">The cmdlet.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ConfirmationRequired"/>: there is nobody to ask.</exception>
    private protected new bool ShouldProcess(string description, string warning, string caption) =>
        ShouldProcess(description, warning, caption, out _);

    /// <summary>Asks whether to go on, and tells why not.</summary>
    /// <param name="description">What would be done.</param>
    /// <param name="warning">The question.</param>
    /// <param name="caption">The cmdlet.</param>
    /// <param name="reason">Receives why not.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.ConfirmationRequired"/>: there is nobody to ask.</exception>
    private protected new bool ShouldProcess(string description, string warning, string caption, out ShouldProcessReason reason)
    {
        try
        {
            return base.ShouldProcess(description, warning, caption, out reason);
        }
        catch (Exception e) when (!ErrorMapping.IsFlowControl(e))
        {
            // Hosts differ in what they throw; at the end of a redirected input PowerShell itself trips over the answer that does not come.
            throw ErrorMapping.NobodyToConfirm(e);
        }
    }

    /// <summary>Runs work on a thread of its own, writing what it posts, and returns its result or throws its exception.</summary>
    /// <param name="work">The work. It gets the observer to speak to and the token that ends it.</param>
    /// <exception cref="PipelineStoppedException">The user stopped the pipeline.</exception>
    private protected T RunWorker<T>(Func<IImagingObserver, CancellationToken, T> work)
    {
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        T result = default!;
        ExceptionDispatchInfo? failure = null;
        bool ended = false;
        IDisposable watch = TerminationSignals.Watch(cancellation);
        var worker = new Thread(() =>
        {
            try
            {
                result = work(_observer, cancellation.Token);
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
            finally
            {
                watch.Dispose();
                Volatile.Write(ref ended, true);
                _observer.Signal();
            }
        })
        { Name = GetType().Name, IsBackground = true };
        worker.Start();
        try
        {
            while (!Volatile.Read(ref ended))
            {
                _observer.Wait();
                WritePosted();
            }

            WritePosted();
        }
        finally
        {
            // Writing throws when the pipeline is being stopped, by the user or by a command further down.
            cancellation.Cancel();
            worker.Join();
        }

        CompleteProgress();
        if (_stop.IsCancellationRequested)
        {
            (result as IDisposable)?.Dispose();
            throw new PipelineStoppedException();
        }

        failure?.Throw();
        return result;
    }

    /// <summary>Runs one item of several. Its failure is an error record, and the next item gets its turn.</summary>
    /// <param name="target">The path concerned.</param>
    /// <param name="work">What to do for the item.</param>
    private protected void RunItem(string target, Action work)
    {
        try
        {
            work();
        }
        catch (Exception e) when (!ErrorMapping.IsFlowControl(e))
        {
            WriteError(ErrorMapping.ToRecord(e, target));
        }
    }

    /// <summary>
    /// Writes what a job did. A result that is not whole is an error as well: one record a job, after the object, so that <c>$?</c>,
    /// <c>-ErrorAction Stop</c> and the exit code of a process tell.
    /// </summary>
    /// <param name="result">The result, with its counts.</param>
    /// <param name="shortfall">What it lacks; null when it is whole.</param>
    private protected void WriteResult(object result, ImageException? shortfall)
    {
        WriteObject(result);
        if (shortfall is not null) WriteError(ErrorMapping.ToRecord(shortfall, shortfall.Path));
    }

    /// <summary>Resolves a path that need not exist to a full path of the file system.</summary>
    /// <param name="path">What the user wrote.</param>
    /// <exception cref="ImageException">It lies on a drive of another provider.</exception>
    private protected string ResolveTarget(string path)
    {
        if (FindAsWritten(path) is { } present) return present;
        RequireOwnPath(path);
        string resolved;
        ProviderInfo provider;
        try
        {
            resolved = SessionState.Path.GetUnresolvedProviderPathFromPSPath(path, out provider, out _);
        }
        catch (System.Management.Automation.DriveNotFoundException e)
        {
            throw ForeignPaths.UnknownDrive(path, e.ItemName);
        }

        RequireFileSystem(provider, path);
        if (ForeignPaths.RefuseWithoutDrive(resolved) is { } refusal) throw refusal;

        // A path with a provider in front of it comes out as it went in; what is relative goes by PowerShell's location, not by the
        // process' folder.
        return System.IO.Path.TrimEndingDirectorySeparator(
            System.IO.Path.GetFullPath(resolved, SessionState.Path.CurrentFileSystemLocation.ProviderPath));
    }

    /// <summary>Refuses a path that cannot be one of this host.</summary>
    /// <param name="path">What the user wrote.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.InvalidArgument"/>.</exception>
    private protected static void RequireOwnPath(string path)
    {
        if (ForeignPaths.Refuse(path) is { } refusal) throw refusal;
    }

    // PowerShell takes a backslash for a separator and a colon for the end of a drive's name, everywhere. On systems where names may have
    // them, what is there as it is written is meant.
    private string? FindAsWritten(string path)
    {
        if (OperatingSystem.IsWindows() || !path.AsSpan().ContainsAny('\\', ':') || path.Contains('\0', StringComparison.Ordinal))
            return null;
        string full = System.IO.Path.GetFullPath(path, SessionState.Path.CurrentFileSystemLocation.ProviderPath);
        return System.IO.Path.Exists(full) ? System.IO.Path.TrimEndingDirectorySeparator(full) : null;
    }

    /// <summary>As <see cref="ResolveTarget"/>, for an image or a folder to put it into: a separator at the end speaks of a folder, or of a
    /// bundle.</summary>
    /// <param name="path">What the user wrote.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.DestinationNotFound"/>: there is no such folder.</exception>
    private protected string ResolveImageTarget(string path)
    {
        string target = ResolveTarget(path);
        if (!System.IO.Path.EndsInDirectorySeparator(path) || System.IO.Path.Exists(target) || ImageFormats.IsBundle(target)) return target;
        throw new ImageException(
            ImageErrorId.DestinationNotFound, "The folder for the image does not exist.", target,
            remedy: "Make the folder, or leave out the separator at the end if the image is to have this name.");
    }

    /// <summary>Asks twice, without echo, for a passphrase that is to be set; again when the two differ.</summary>
    /// <param name="what">What it is for, for the prompt.</param>
    /// <exception cref="ImageException"><see cref="ImageErrorId.PassphraseRequired"/>: there is nobody to ask;
    /// <see cref="ImageErrorId.InvalidArgument"/>: the two differed each time.</exception>
    private protected Passphrase PromptForNewPassphrase(string what) => new PassphrasePrompt(Host).AskForNew(what);

    /// <summary>Whether the cmdlet is only to say what it would do: then it needs no passphrase and asks for none.</summary>
    private protected bool IsWhatIf => LanguagePrimitives.IsTrue(
        MyInvocation.BoundParameters.TryGetValue("WhatIf", out object? given) ? given : GetVariableValue("WhatIfPreference"));

    /// <summary>Saves the passphrase of an image that was written. The image stands, so that a failure is an error record.</summary>
    /// <param name="path">The image, as a full path.</param>
    /// <param name="passphrase">Opens it.</param>
    private protected void SaveInKeychain(string path, Passphrase passphrase) => RunItem(path, () => RunWorker((_, _) =>
    {
        ImageKeychain.Save(path, passphrase);
        return true;
    }));

    private protected static void RequireFileSystem(ProviderInfo provider, string path)
    {
        if (provider.Name == "FileSystem") return;
        throw new ImageException(
            ImageErrorId.InvalidArgument, $"The path belongs to the provider {provider.Name}, not to a file system.", path: path,
            remedy: "Give a path of a folder or file.");
    }

    private void WritePosted()
    {
        while (_observer.TryTake(out object? message))
        {
            if (message is ImagingWarning warning) WriteWarning(warning.ToString());
            else WriteVerbose(DisplayText.Escape((string)message));
        }

        if (!_observer.TryTakeProgress(out ImagingProgress progress)) return;
        _progress = ProgressFormat.ToRecord(ProgressActivityId, progress);
        WriteProgress(_progress);
    }

    private void CompleteProgress()
    {
        if (_progress is null) return;
        _progress.RecordType = ProgressRecordType.Completed;
        WriteProgress(_progress);
        _progress = null;
    }
}
