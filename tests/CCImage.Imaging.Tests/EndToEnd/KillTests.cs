using System.Diagnostics;
using System.Globalization;
using CCImage.Diagnostics;
using CCImage.Encryption;
using CCImage.Sources;
using CCImage.Storage;
using CCImage.Tests.Encryption;

namespace CCImage.Tests.EndToEnd;

/// <summary>
/// Processes that are killed without warning. The destination is absent, the old image, or the whole new one, whatever the moment.
/// CCIMAGE_KILLS sets how many moments are tried.
/// </summary>
public sealed class KillTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ccimage-kill-").FullName;

    public void Dispose() => Directory.Delete(_folder, true);

    [Theory]
    [InlineData("new", BackupImageFormat.ReadOnlyZlib)]
    [InlineData("new", BackupImageFormat.SparseBundle)]
    [InlineData("new", BackupImageFormat.Sparse)]
    [InlineData("convert", BackupImageFormat.ReadOnlyZlib)]
    public void A_killed_job_leaves_the_old_image_or_the_whole_new_one(string job, BackupImageFormat format)
    {
        string program = Program;
        string source = Path.Combine(_folder, "source");
        string second = Path.Combine(_folder, "second");
        MakeSource(source, 1);
        MakeSource(second, 2);
        string image = Path.Combine(_folder, "image");
        string fresh = job == "new" ? second : Path.Combine(_folder, "second.img");
        if (job == "convert") Make(second, fresh, BackupImageFormat.ReadWrite);

        // How long a whole run takes, so that the moments fall all over it.
        var clock = Stopwatch.StartNew();
        Start(program, job, format, fresh, image).WaitForExit();
        int whole = (int)clock.ElapsedMilliseconds;
        Delete(image);

        var random = new Random(9);
        int kills = Kills / 4;
        var seen = new Dictionary<string, int>();
        bool hasOld = false;
        for (int i = 0; i < Math.Max(kills, 1); i++)
        {
            if (i % 2 == 1 && !hasOld)
            {
                Delete(image);
                Make(source, image, format);
                hasOld = true;
            }

            using (Process process = Start(program, job, format, fresh, image))
            {
                Thread.Sleep(random.Next(whole / 4, whole + 50));
                process.Kill();
                process.WaitForExit();
            }

            string state = Path.Exists(image) ? Content(image) : "absent";
            Assert.True(state is "absent" or "1" or "2", state);
            Assert.False(hasOld && state == "absent", "The old image is gone.");
            seen[state] = seen.GetValueOrDefault(state) + 1;
            if (state != "2") continue;
            hasOld = false;
            Delete(image);
        }

        Assert.NotEmpty(seen);
    }

    [Fact]
    public void A_killed_change_of_the_passphrase_leaves_an_image_that_opens()
    {
        string source = Path.Combine(_folder, "source"), image = Path.Combine(_folder, "image"), plain = Path.Combine(_folder, "plain");
        MakeSource(source, 1);
        Make(source, plain, BackupImageFormat.ReadWrite);
        using Passphrase one = Secrets.Of("one"), two = Secrets.Of("two");
        var random = new Random(10);
        var seen = new Dictionary<string, int>();
        foreach (BackupImageFormat format in new[] { BackupImageFormat.ReadOnlyZlib, BackupImageFormat.SparseBundle })
        {
            EncryptedImages.Write(plain, image, format, BackupImageEncryption.Aes256, "one");
            var clock = Stopwatch.StartNew();
            StartChange(image, "one", "two").WaitForExit();
            int whole = (int)clock.ElapsedMilliseconds;
            string current = "two";
            Assert.Equal(current, Opens(image));
            for (int i = 0; i < Math.Max(Kills / 8, 1); i++)
            {
                using (Process process = StartChange(image, current, current == "one" ? "two" : "one"))
                {
                    Thread.Sleep(random.Next(whole / 2, whole + 50));
                    process.Kill();
                    process.WaitForExit();
                }

                string now = Opens(image);
                seen[now == current ? "kept" : "changed"] = seen.GetValueOrDefault(now == current ? "kept" : "changed") + 1;
                current = now;
            }

            Delete(image);
        }

        Assert.NotEmpty(seen);

        string Opens(string path)
        {
            foreach ((string name, Passphrase passphrase) in new[] { ("one", one), ("two", two) })
            {
                try
                {
                    using DiskImage opened = DiskImage.Open(path, passphrase);
                    Assert.Equal("1", Content(opened));
                    return name;
                }
                catch (ImageException e) when (e.Id == ImageErrorId.WrongPassphrase)
                {
                    // Then it must be the other one.
                }
            }

            throw new InvalidOperationException("The image opens with neither passphrase.");
        }

        static Process StartChange(string image, string from, string to) =>
            Process.Start(
                new ProcessStartInfo("dotnet", ["exec", Program, "--job", "passphrase", image, from, to]) { RedirectStandardOutput = true,
                RedirectStandardError = true })!;
    }

    private static int Kills => int.Parse(Environment.GetEnvironmentVariable("CCIMAGE_KILLS") ?? "16", CultureInfo.InvariantCulture);

    internal static string Program =>
        Path.Combine(Path.GetDirectoryName(Oracle.Folder)!, "Benchmarks", "bin", Configuration, "net10.0", "CCImage.Benchmarks.dll");

    private static string Configuration => new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;

    private static Process Start(string program, string job, BackupImageFormat format, string source, string image) =>
        Process.Start(new ProcessStartInfo("dotnet", ["exec", program, "--job", job, format.ToString(), "-", source, image])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;

    private static void Make(string source, string image, BackupImageFormat format)
    {
        using ImageCreation creation = ImageCreation.Prepare(
            new ImageRecipe { SourcePath = source, Path = image, Format = format, Overwrite = true }, SilentObserver.Instance,
            CancellationToken.None);
        creation.Run(CancellationToken.None);
    }

    // Every file of the image says which source it is from.
    private static string Content(string image)
    {
        using DiskImage opened = DiskImage.Open(image);
        return Content(opened);
    }

    private static string Content(DiskImage opened)
    {
        using SourceTree tree = opened.ReadTree(null, CancellationToken.None);
        SourceEntry[] files = [.. tree.Enumerate().Where(e => e.Kind == EntryKind.File)];
        Assert.Equal(200, files.Length);
        byte first = 0;
        foreach (SourceEntry file in files)
        {
            using BlockStorage fork = tree.OpenFork(file, ForkKind.Data);
            byte[] bytes = new byte[fork.Length];
            fork.Read(0, bytes);
            Assert.True(bytes.Length == 30_000, file.Name);
            if (first == 0) first = bytes[0];
            Assert.False(bytes.AsSpan().ContainsAnyExcept(first), file.Name);
        }

        return first.ToString(CultureInfo.InvariantCulture);
    }

    private static void MakeSource(string folder, byte content)
    {
        Directory.CreateDirectory(folder);
        byte[] bytes = new byte[30_000];
        Array.Fill(bytes, content);
        for (int i = 0; i < 200; i++) File.WriteAllBytes(Path.Combine(folder, $"file {i}"), bytes);
    }

    private static void Delete(string image)
    {
        if (Directory.Exists(image)) Directory.Delete(image, true);
        else File.Delete(image);
    }
}
