using CCImage.FileSystems.HfsPlus;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.HfsPlus;

/// <summary>Runs of free blocks, against a look at every bit.</summary>
public sealed class AllocationRunsTests
{
    [Fact]
    public void Runs_are_those_of_every_bit()
    {
        var random = new Random(42);
        for (int round = 0; round < 300; round++)
        {
            // Over the end of a chunk now and then.
            int total = random.Next(1, round % 20 == 0 ? (8 * 256 << 10) + 100 : 300);
            byte[] bits = new byte[(total + 7) / 8];
            int change = random.Next(1, 40);
            for (int block = 0, value = 0; block < bits.Length * 8; block++)
            {
                if (random.Next(change) == 0) value = random.Next(2);
                bits[block / 8] |= (byte)(value << (7 - (block % 8)));
            }

            var expected = new List<(long First, long Count)>();
            for (int block = 0; block < total; block++)
            {
                if ((bits[block / 8] & (0x80 >> (block % 8))) != 0) continue;
                if (expected.Count > 0 && expected[^1].First + expected[^1].Count == block)
                    expected[^1] = (expected[^1].First, expected[^1].Count + 1);
                else expected.Add((block, 1));
            }

            Assert.Equal(expected, AllocationRuns.FreeOf(new MemoryStorage(bits), total));
        }
    }

    [Fact]
    public void What_is_not_stored_is_free_and_not_read()
    {
        using var zeros = new CountingStorage(new ZeroStorage(300 << 20));
        Assert.Equal([(0L, 2_400_000_001L)], AllocationRuns.FreeOf(new Hole(zeros), 2_400_000_001));
        Assert.Equal(0, zeros.Reads);
    }

    private sealed class Hole(BlockStorage inner) : BlockStorage
    {
        public override long Length => inner.Length;

        protected override void ReadCore(long offset, Span<byte> buffer) => inner.Read(offset, buffer);

        protected override IEnumerable<StorageExtent> GetExtentsCore(long offset, long length) => [new(offset, length, ExtentKind.Zero)];
    }
}
