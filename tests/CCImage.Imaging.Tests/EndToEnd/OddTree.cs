using System.Diagnostics;
using System.Runtime.Versioning;
using System.Text;

namespace CCImage.Tests.EndToEnd;

/// <summary>A folder on the host with one of every oddity a tree can have.</summary>
internal static class OddTree
{
    /// <summary>Makes it.</summary>
    /// <param name="root">A folder that does not exist yet.</param>
    [UnsupportedOSPlatform("windows")]
    public static void Make(string root)
    {
        var random = new Random(2);
        Directory.CreateDirectory(root);
        Write("empty", 0);
        Write("one byte", 1);
        Write("a block", 4096);
        Write("a block and one", 4097);
        Write("several megabytes", (5 << 20) + 123);
        Write("colon:in:name", 10);
        Write("composed \u00E9 \u00FC \u1E69", 11);
        Write("hangul \uD55C\uAE00", 12);
        Write("emoji \U0001F600", 13);
        Write("newline\nin name", 14);
        Write(" leading and trailing ", 15);
        Write(new string('n', 255), 16);
        Write("UPPER", 17);
        Write("lower", 18);
        File.SetUnixFileMode(Path.Combine(root, "one byte"), UnixFileMode.UserRead);
        File.SetUnixFileMode(Path.Combine(root, "a block"), (UnixFileMode)0xFED); // rwsr-sr-t with everything: octal 7755
        File.SetLastWriteTimeUtc(Path.Combine(root, "one byte"), new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc));
        File.SetLastWriteTimeUtc(Path.Combine(root, "empty"), new DateTime(1970, 1, 1, 0, 0, 1, DateTimeKind.Utc));

        string folder = root;
        for (int i = 0; i < 60; i++) folder = Path.Combine(folder, $"deep {i}");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "at the bottom"), "found");
        Directory.CreateDirectory(Path.Combine(root, "empty folder"));
        string many = Directory.CreateDirectory(Path.Combine(root, "many")).FullName;
        for (int i = 0; i < 3000; i++)
            File.WriteAllText(Path.Combine(many, $"file {i}"), i.ToString(System.Globalization.CultureInfo.InvariantCulture));

        File.CreateSymbolicLink(Path.Combine(root, "link to file"), "one byte");
        File.CreateSymbolicLink(Path.Combine(root, "dangling link"), "no/such/\u00E9");
        File.CreateSymbolicLink(Path.Combine(root, "link up"), "../../..");
        Run("ln", Path.Combine(root, "a block and one"), Path.Combine(root, "hard link 1"));
        Run("ln", Path.Combine(root, "a block and one"), Path.Combine(many, "hard link 2"));
        Run("mkfifo", Path.Combine(root, "fifo"));
        using FileStream sparse = File.Create(Path.Combine(root, "sparse"));
        sparse.SetLength(64 << 20);
        sparse.Position = 32 << 20;
        sparse.Write("island"u8);

        void Write(string name, int size)
        {
            byte[] content = new byte[size];
            if (size > 1 << 20) random.NextBytes(content.AsSpan(size / 2));
            else random.NextBytes(content);
            File.WriteAllBytes(Path.Combine(root, name), content);
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
