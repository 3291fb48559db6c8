using System.Security.Cryptography;
using System.Text;
using CCImage.Encryption;

namespace CCImage.Tests.Encryption;

/// <summary>
/// Nothing of the source, and nothing of the passphrase, reaches a file while an encrypted image is made: not beside the image, not among
/// the temporary files, not in a file that is open without a name. Somebody else's program looks, during the run and at its end.
/// </summary>
/// <remarks>Alone: the look among the temporary files reads those of tests beside it, which changes their times of access.</remarks>
[Collection(nameof(ReadsTemporaryFiles))]
public sealed class LeakTests : IDisposable
{
    private readonly string _source = Directory.CreateTempSubdirectory("ccimage-leak-source-").FullName;
    private readonly string _destination = Directory.CreateTempSubdirectory("ccimage-leak-").FullName;
    private readonly string _marker = "marker " + Convert.ToHexString(RandomNumberGenerator.GetBytes(20));
    private readonly string _secret = "secret " + Convert.ToHexString(RandomNumberGenerator.GetBytes(20));

    public void Dispose()
    {
        Directory.Delete(_source, true);
        Directory.Delete(_destination, true);
    }

    [OracleTheory("grep", "find")]
    [InlineData(BackupImageFormat.Sparse)]
    [InlineData(BackupImageFormat.SparseBundle)]
    [InlineData(BackupImageFormat.ReadOnlyZlib)]
    public void Nothing_of_the_source_or_the_passphrase_is_ever_in_a_file(BackupImageFormat format)
    {
        Require.Linux();
        HashSet<string> leaks = MakeWatched(format, () => { });
        Assert.True(leaks.Count == 0, string.Join(", ", leaks));
    }

    [OracleTheory("grep", "find")]
    [InlineData("beside")]
    [InlineData("unnamed")]
    [InlineData("passphrase")]
    public void A_leak_is_found(string kind)
    {
        Require.Linux();
        string path = kind == "unnamed" ? Path.GetTempFileName() : Path.Combine(_destination, ".hidden");
        FileStream? file = null;
        try
        {
            HashSet<string> leaks = MakeWatched(BackupImageFormat.Sparse, () =>
            {
                file = File.Create(path);
                file.Write(Encoding.UTF8.GetBytes(kind == "passphrase" ? _secret : _marker));
                file.Flush();
                if (kind == "unnamed") File.Delete(path);
            });
            Assert.NotEmpty(leaks);
        }
        finally
        {
            file?.Dispose();
            File.Delete(path);
        }
    }

    private HashSet<string> MakeWatched(BackupImageFormat format, Action leak)
    {
        // Enough to be busy with for a moment; nothing that any codec would hide.
        byte[] content = new byte[6 << 20];
        new Random(1).NextBytes(content);
        byte[] marker = Encoding.UTF8.GetBytes(_marker);
        for (int at = 0; at + 4096 <= content.Length; at += 4096) marker.CopyTo(content, at + 1000);
        File.WriteAllBytes(Path.Combine(_source, "file"), content);
        File.WriteAllBytes(Path.Combine(_source, "small"), marker);
        string stamp = Path.Combine(_source, "stamp");
        File.WriteAllText(stamp, "");

        var leaks = new HashSet<string>();
        int reports = 0, looks = 0;
        var observer = new RecordingObserver
        {
            // While data are being written, and once in the middle of them.
            WhenProgress = progress =>
            {
                if (Interlocked.Increment(ref reports) is not (2 or 5) || progress.Completed == 0) return;
                if (Interlocked.Increment(ref looks) == 1) leak();
                LookAround();
            },
        };
        using Passphrase secret = Secrets.Of(_secret);
        var recipe = new ImageRecipe
        {
            SourcePath = _source, Path = Path.Combine(_destination, "image"), Format = format, SizeBytes = ImageOutput.IsReadOnly(format)
                ? null : 20_000_000,
            Encryption = BackupImageEncryption.Aes128, Passphrase = secret,
        };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, observer, CancellationToken.None))
        {
            BackupImage made = creation.Run(CancellationToken.None);
            Assert.Equal(BackupImageEncryption.Aes128, made.Encryption);
            Assert.DoesNotContain(_secret, made.ToString(), StringComparison.Ordinal);
            Assert.DoesNotContain(_secret, recipe.ToString(), StringComparison.Ordinal);
        }

        LookAround();
        Assert.True(looks > 0, $"Nobody looked during the run: {reports} reports of progress.");
        Assert.DoesNotContain(observer.Warnings, w => w.ToString().Contains(_secret, StringComparison.Ordinal));
        return leaks;

        void LookAround()
        {
            lock (leaks) leaks.UnionWith(Look(stamp));
        }
    }

    /// <summary>Files beside the image, young temporary files and this process' open files that hold the marker or the passphrase; the
    /// source's own left out.</summary>
    private string[] Look(string stamp)
    {
        string script = """
            find "$1" -type f -exec grep -laF -e "$4" -e "$5" {} + 2>/dev/null
            find "$2" -maxdepth 3 -xdev -path "$6" -prune -o -type f -newer "$7" -size -64M -exec grep -laF -e "$4" -e "$5" {} + 2>/dev/null
            find -L "/proc/$3/fd" -maxdepth 1 -type f -size -64M 2>/dev/null | while read -r f; do
              # The runtime's own memory, of terabytes, has no place on a disk.
              case "$(readlink "$f")" in "$6"/* | /memfd:*) ;; *) grep -laF -e "$4" -e "$5" "$f" 2>/dev/null;; esac
            done
            true
            """;
        (int exitCode, string output, _) = Oracle.Run(
            "sh", "-c", script, "sh", _destination, Path.GetTempPath(),
            Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture), _marker, _secret, _source, stamp);
        Assert.Equal(0, exitCode);
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}

/// <summary>Tests that read whatever lies among the temporary files.</summary>
[CollectionDefinition(nameof(ReadsTemporaryFiles), DisableParallelization = true)]
public sealed class ReadsTemporaryFiles;
