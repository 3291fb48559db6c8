using CCImage.Diagnostics;
using CCImage.Partitions;
using CCImage.Partitions.Gpt;
using CCImage.Storage;
using CCImage.Tests.Storage;

namespace CCImage.Tests.Partitions;

/// <summary>A table that is fitted to another length of its disk, cut off at every write; what no flush made durable may be lost or come in
/// another order.</summary>
public sealed class GptResizerTests
{
    private const int Sectors = 2000;

    // Near 33 sectors the new backup overlaps the old one.
    [Theory]
    [InlineData(-1)]
    [InlineData(-8)]
    [InlineData(-31)]
    [InlineData(-32)]
    [InlineData(-33)]
    [InlineData(-40)]
    [InlineData(-65)]
    [InlineData(-900)]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(33)]
    [InlineData(500)]
    public void The_partition_is_there_in_every_state(int change)
    {
        var layout = GptLayout.Create(Sectors * 512, Guid.NewGuid(), Guid.NewGuid());
        byte[] disk = new byte[(Sectors + Math.Max(0, change)) * 512];
        foreach ((long offset, byte[] bytes) in layout.Pieces) bytes.CopyTo(disk, offset);
        long before = layout.PartitionOffset + layout.PartitionLength;
        WriteLog storage = Resize(disk, Sectors + change, out long after);
        int states = 0;
        foreach ((byte[] state, _) in storage.StatesOf(change))
        {
            BackupImagePartition partition = Assert.Single(PartitionTable.Read(new MemoryStorage(state)).Partitions);
            Assert.Equal(layout.PartitionOffset, partition.OffsetBytes);
            Assert.Contains(partition.OffsetBytes + partition.SizeBytes, new[] { before, after });
            var findings = new ImageFindings("disk");
            new GptChecker(new MemoryStorage(state)).Check(findings);
            Assert.NotEqual(ImageFindingGrade.Damaged, findings.Worst);
            // The first copy alone is enough: the disk may have got its new end, or not.
            Assert.True(
                GptReader.TryReadCopy(
                new MemoryStorage(state), PartitionTable.SectorSize, 1, out GptHeader header, out _, out string fault), fault);
            ulong entries = header.EntriesSector;
            foreach (int other in (int[])[change, -7, -20, 0])
            {
                if (state.Length / 512 < Sectors + other) continue;
                WriteLog second = Resize(state, Sectors + other, out long end);
                // Where the first entries lie in a backup, another backup is not written over them.
                foreach ((byte[] cut, _) in entries == 2 ? [] : second.StatesOf(other))
                    Assert.Contains(PartitionTable.Read(new MemoryStorage(cut)).Partitions.Select(p => p.OffsetBytes + p.SizeBytes)
                        .Single(), new[] { before, after, end });
                byte[] again = second.Now[..((Sectors + other) * 512)];
                findings = new ImageFindings("disk");
                new GptChecker(new MemoryStorage(again)).Check(findings);
                Assert.True(findings.IsSound, string.Join('\n', findings.ToList()));
                partition = Assert.Single(PartitionTable.Read(new MemoryStorage(again)).Partitions);
                Assert.Equal(end, partition.OffsetBytes + partition.SizeBytes);
            }

            states++;
        }

        Assert.True(states > 15, $"{states} states");
    }

    private static WriteLog Resize(byte[] disk, int sectors, out long end)
    {
        var storage = new WriteLog(disk);
        var resizer = new GptResizer(storage);
        end = resizer.LastEndFor(sectors * 512L);
        resizer.Write(storage, sectors * 512L, end);
        return storage;
    }
}
