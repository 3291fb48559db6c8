using System.Security;
using CCImage.Diagnostics;
using CCImage.Encryption;

namespace CCImage.Tests;

/// <summary>Containers that change their capacity: what stays is unchanged, and what was cut off never comes back.</summary>
public sealed class ImageCapacityTests : IDisposable
{
    private const int Capacity = (3 << 20) + 512;
    private const int Cut = (1 << 20) + 1536;
    private const int Large = (5 << 20) + 1024;

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<BackupImageFormat, BackupImageEncryption> Kinds => new()
    {
        { BackupImageFormat.ReadWrite, BackupImageEncryption.None },
        { BackupImageFormat.ReadWrite, BackupImageEncryption.Aes128 },
        { BackupImageFormat.Sparse, BackupImageEncryption.None },
        { BackupImageFormat.Sparse, BackupImageEncryption.Aes256 },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.None },
        { BackupImageFormat.SparseBundle, BackupImageEncryption.Aes128 },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Capacity_changes_and_what_was_cut_off_does_not_come_back(BackupImageFormat format, BackupImageEncryption encryption)
    {
        using Passphrase? passphrase = encryption == BackupImageEncryption.None ? null : MakePassphrase();
        string image = Make(format, encryption, passphrase);
        byte[] noise = TestTree.Noise(Capacity, 3);
        Change(c => c.Disk.Write(0, noise));
        Change(c => c.SetCapacity(Cut));
        Check(Cut, Cut);
        Change(c => c.SetCapacity(Large));
        Check(Large, Cut);
        Change(c => c.Disk.Write(Large - 512, noise.AsSpan(0, 512)));
        Change(c =>
        {
            // Without opening anew, and back.
            c.SetCapacity(Large - 512);
            c.SetCapacity(Large);
            c.Disk.Write(Cut, noise.AsSpan(Cut, Capacity - Cut));
        });
        Check(Large, Capacity);

        void Change(Action<ImageContainer> change)
        {
            using ImageContainer container = ImageContainer.Open(image, passphrase, writable: true);
            change(container);
            container.Disk.Flush();
        }

        void Check(int length, int same)
        {
            using ImageContainer container = ImageContainer.Open(image, passphrase, writable: false);
            Assert.Equal(length, container.Disk.Length);
            byte[] disk = new byte[length];
            container.Disk.Read(0, disk);
            Assert.True(disk.AsSpan(0, same).SequenceEqual(noise.AsSpan(0, same)));
            Assert.False(disk.AsSpan(same).ContainsAnyExcept((byte)0));
        }
    }

    [Fact]
    public void Bands_that_a_killed_resize_left_behind_the_end_do_not_come_back()
    {
        string image = Make(BackupImageFormat.SparseBundle, BackupImageEncryption.None, null);
        File.WriteAllBytes(Path.Combine(image, "bands", "4"), TestTree.Noise(1 << 20, 1));
        File.WriteAllBytes(Path.Combine(image, "bands", "3"), TestTree.Noise(1 << 20, 2));
        using ImageContainer container = ImageContainer.Open(image, null, writable: true);
        container.SetCapacity(Large);
        byte[] tail = new byte[Large - Capacity];
        container.Disk.Read(Capacity, tail);
        Assert.False(tail.AsSpan().ContainsAnyExcept((byte)0));
        Assert.Equal(File.ReadAllBytes(Path.Combine(image, "Info.plist")), File.ReadAllBytes(Path.Combine(image, "Info.bckup")));
    }

    private string Make(BackupImageFormat format, BackupImageEncryption encryption, Passphrase? passphrase)
    {
        string image = _folder["image"];
        var recipe = new ImageRecipe
        {
            Path = image, Format = format, SizeBytes = 2 << 20, Encryption = encryption, Passphrase = passphrase,
            BandSizeBytes = format == BackupImageFormat.SparseBundle ? 1 << 20 : null,
        };
        using (ImageCreation creation = ImageCreation.Prepare(recipe, SilentObserver.Instance, CancellationToken.None))
            creation.Run(CancellationToken.None);
        using ImageContainer container = ImageContainer.Open(image, passphrase, writable: true);
        container.SetCapacity(Capacity);
        return image;
    }

    private static Passphrase MakePassphrase()
    {
        using var secret = new SecureString();
        foreach (char c in "correct horse") secret.AppendChar(c);
        return Passphrase.From(secret);
    }
}
