using System.Buffers.Binary;
using CCImage.Compression;
using CCImage.Containers.Udif;
using CCImage.Storage;

namespace CCImage.Tests.Containers.Udif;

public sealed class UdifStorageTests
{
    // More than the decoded runs that are kept, so that their buffers change owners while others read.
    private const int Length = 100 << 20;

    [Fact]
    public void Reads_beside_the_runs_on_many_threads_give_the_disk_and_little_garbage()
    {
        byte[] content = new byte[Length];
        for (int at = 0; at < content.Length; at += 512) BinaryPrimitives.WriteInt32LittleEndian(content.AsSpan(at), at);
        byte[] image = UdifWriterTests.Write(new MemoryStorage(content), UdifWriterTests.Zlib with { Compressor = new ZlibCodec(1) });
        using UdifStorage disk = UdifStorage.Open(new MemoryStorage(image));

        long allocated = 0;
        Parallel.For(0, 4, worker =>
        {
            var random = new Random(worker);
            byte[] buffer = new byte[1 << 20];
            long before = GC.GetAllocatedBytesForCurrentThread(); // other tests allocate, too
            for (int i = 0; i < 60; i++)
            {
                // Half of them in order, as a conversion reads; half anywhere.
                int at = i % 2 == 0 ? ((worker * 25) + (i / 2 % 25)) * (1 << 20) + 20480 : random.Next(Length - buffer.Length);
                Span<byte> part = buffer.AsSpan(0, Math.Min(random.Next(1, buffer.Length), Length - at));
                disk.Read(at, part);
                Assert.True(part.SequenceEqual(content.AsSpan(at, part.Length)), $"Other bytes at {at}.");
            }

            Interlocked.Add(ref allocated, GC.GetAllocatedBytesForCurrentThread() - before);
        });

        // The kept runs, one in the hands of each thread, spare ones, and what decoding costs by itself: not one for each read.
        Assert.InRange(allocated, 0, 110 << 20);
    }

    [Fact]
    public void A_buffer_changes_its_owner_only_when_nobody_reads_it_any_more()
    {
        var cache = new DecodedRunCache(capacity: 1536);
        DecodedRunCache.Entry read = cache.Take(Run(0));
        Assert.Same(read, cache.Take(Run(0)));
        cache.Release(read);
        var others = new List<DecodedRunCache.Entry>();
        for (int run = 1; run < 10; run++) others.Add(cache.Take(Run(run))); // the first leaves the cache, and is still read
        Assert.DoesNotContain(others, o => o.Buffer == read.Buffer);
        cache.Release(read);
        Assert.Same(read.Buffer, cache.Take(Run(10)).Buffer);
        Assert.NotSame(read, cache.Take(Run(0)));
    }

    private static UdifRun Run(int number) => new(UdifRunType.Zlib, number, 1, number, 1);
}
