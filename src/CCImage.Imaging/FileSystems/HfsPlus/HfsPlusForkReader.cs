using System.Collections.Concurrent;
using CCImage.Diagnostics;
using CCImage.Sources;
using CCImage.Storage;

namespace CCImage.FileSystems.HfsPlus;

/// <summary>Reads forks by their number in the plan, keeps a few open, and notes those that do not give what was planned.</summary>
/// <param name="plan">The plan.</param>
/// <param name="tree">Gives the content; stays the caller's.</param>
/// <param name="observer">Hears of entries that changed or were lost, each once.</param>
internal sealed class HfsPlusForkReader(HfsPlusPlan plan, SourceTree tree, IImagingObserver observer) : IDisposable
{
    private const int MostOpen = 16;
    private const int SalvagedPiece = 4096;
    private const int MostFaults = 16;

    private readonly Lock _gate = new();
    private readonly LinkedList<OpenFork> _open = new();
    private readonly Dictionary<int, LinkedListNode<OpenFork>> _byNumber = [];
    private readonly ConcurrentDictionary<int, bool> _unreadable = new();
    private readonly ConcurrentDictionary<(int Node, ImagingWarningKind Kind), bool> _told = new();

    /// <summary>Entries that were written to since the scan: content of one moment or another.</summary>
    public ConcurrentQueue<ImagingWarning> Changed { get; } = new();

    /// <summary>Entries of which content could not be read.</summary>
    public ConcurrentQueue<ImagingWarning> Lost { get; } = new();

    /// <summary>What could not be read, by the forks' numbers.</summary>
    public ContentLosses Losses { get; } = new();

    // Fills the buffer; behind the fork's end with zeros.
    public void Read(int number, long offset, Span<byte> buffer)
    {
        ref readonly PlanFork fork = ref plan.Forks[number];
        long size = plan.SizeOf(fork);
        int wanted = (int)Math.Clamp(size - offset, 0, buffer.Length);
        buffer[wanted..].Clear();
        if (wanted == 0) return;
        SourceEntry entry = plan.Nodes[fork.Node].Entry!;
        if (fork.Stream == 0 && entry.Kind == EntryKind.SymbolicLink)
        {
            System.Text.Encoding.UTF8.GetBytes(entry.LinkTarget!).AsSpan((int)offset, wanted).CopyTo(buffer);
            return;
        }

        OpenFork? open = Acquire(number, keep: wanted < size);
        try
        {
            string? problem = null;
            int done = open is null ? 0 : ReadOpen(number, open.Storage, offset, buffer[..wanted], size, out problem);
            buffer[done..wanted].Clear();
            Losses.Add(number, offset + done, offset + wanted);
            if (problem is not null) TellLost(number, problem);
        }
        finally
        {
            // Last: closing asks whether the file changed, which is nothing new of one that is known to be lost.
            if (open is not null) Release(open, finished: offset + wanted >= size);
        }
    }

    // Reads what is there of a fork, and says how much that is, and what is wrong when it is less than was planned.
    private int ReadOpen(int number, BlockStorage storage, long offset, Span<byte> buffer, long size, out string? problem)
    {
        problem = null;
        int there = (int)Math.Clamp(storage.Length - offset, 0, buffer.Length);
        try
        {
            if (there > 0) storage.Read(offset, buffer[..there]);
            long end = Math.Min(tree.ReadableEnd(storage), storage.Length);
            int done = (int)Math.Clamp(end - offset, 0, there);
            Losses.Remove(number, offset, offset + done);
            if (done < buffer.Length) problem = $"it ended at byte {end} of {size} when it was read.";
            return done;
        }
        catch (Exception e) when (IsReadProblem(e))
        {
            if (!Salvage(number, storage, offset, buffer[..there]) || there < buffer.Length) problem = Reason(e);
            return there;
        }
    }

    // What arrived before a fault cannot be told from what did not, so everything is read again, piece by piece, and only pieces that
    // cannot be read are zeros. A medium that answers nothing is not asked for ever. True when the second attempt gave everything.
    private bool Salvage(int number, BlockStorage storage, long offset, Span<byte> buffer)
    {
        int faults = 0;
        bool isWhole = true;
        while (!buffer.IsEmpty)
        {
            Span<byte> piece = buffer[..(int)Math.Min(SalvagedPiece - (offset % SalvagedPiece), buffer.Length)];
            int got = 0;
            try
            {
                if (faults < MostFaults)
                {
                    storage.Read(offset, piece);
                    got = (int)Math.Clamp(tree.ReadableEnd(storage) - offset, 0, piece.Length);
                }
            }
            catch (Exception e) when (IsReadProblem(e))
            {
                faults++;
            }

            piece[got..].Clear();
            Losses.Remove(number, offset, offset + got);
            Losses.Add(number, offset + got, offset + piece.Length);
            isWhole &= got == piece.Length;
            offset += piece.Length;
            buffer = buffer[piece.Length..];
        }

        return isWhole;
    }

    /// <summary>Tells of what is known to be lost and was not told: ends of files that nobody read because they were not there when they
    /// were looked for.</summary>
    public void TellRest()
    {
        foreach (int number in Losses.Sum(f => plan.SizeOf(plan.Forks[f])).Keys)
            TellLost(number, "it was shorter than it had been when it was scanned.");
    }

    // Extents of a fork in its own offsets.
    public List<StorageExtent> GetExtents(int number, long offset, long length)
    {
        long size = plan.SizeOf(plan.Forks[number]);
        long end = offset + length;
        OpenFork? open = Acquire(number, keep: true);
        if (open is null) return [new StorageExtent(offset, length, ExtentKind.Data)];
        try
        {
            long known = Math.Clamp(Math.Min(size, open.Storage.Length), offset, end);
            var extents = (known > offset ? open.Storage.GetExtents(offset, known - offset) : [])
                .Select(e => e with { Kind = e.Kind == ExtentKind.Data ? ExtentKind.Data : ExtentKind.Zero }).ToList();
            if (known < end)
            {
                // Nobody will read it, so that it is noted here; should it be there the next time, it is read after all.
                extents.Add(new StorageExtent(known, end - known, ExtentKind.Zero));
                Losses.Add(number, known, Math.Min(size, end));
            }

            return extents;
        }
        catch (Exception e) when (IsReadProblem(e))
        {
            return [new StorageExtent(offset, length, ExtentKind.Data)];
        }
        finally
        {
            Release(open, finished: false);
        }
    }

    /// <summary>Closes all that is open, and hears which of it changed. Nobody reads meanwhile.</summary>
    public void CloseAll()
    {
        lock (_gate)
        {
            foreach (OpenFork open in _open) Close(open);
            _open.Clear();
            _byNumber.Clear();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => CloseAll();

    private static bool IsReadProblem(Exception e) => e is ImageException or IOException or UnauthorizedAccessException;

    private OpenFork? Acquire(int number, bool keep)
    {
        lock (_gate)
        {
            if (_byNumber.TryGetValue(number, out LinkedListNode<OpenFork>? node))
            {
                _open.Remove(node);
                _open.AddFirst(node);
                node.Value.Users++;
                return node.Value;
            }
        }

        if (_unreadable.ContainsKey(number)) return null;
        BlockStorage storage;
        try
        {
            storage = Open(number);
        }
        catch (Exception e) when (IsReadProblem(e))
        {
            _unreadable.TryAdd(number, true);
            TellLost(number, Reason(e));
            return null;
        }

        long size = plan.SizeOf(plan.Forks[number]);
        if (storage.Length > size)
            TellChanged(number, $"The size changed from {size} to {storage.Length} bytes after the scan; the copy has {size} bytes.");
        var open = new OpenFork(number, storage) { Users = 1 };
        if (!keep) return open;
        lock (_gate)
        {
            // Another thread may have been faster; then this one stays private and is closed after use.
            if (!_byNumber.ContainsKey(number))
            {
                open.Kept = true;
                _byNumber.Add(number, _open.AddFirst(open));
            }
        }

        return open;
    }

    // Closes what nobody uses and is not worth keeping.
    private void Release(OpenFork open, bool finished)
    {
        List<OpenFork> close = [];
        lock (_gate)
        {
            open.Users--;
            if (!open.Kept)
            {
                close.Add(open);
            }
            else
            {
                open.Finished |= finished;
                LinkedListNode<OpenFork>? node = _open.Last;
                while (node is not null)
                {
                    LinkedListNode<OpenFork>? before = node.Previous;
                    OpenFork candidate = node.Value;
                    if (candidate.Users == 0 && (candidate.Finished || _open.Count > MostOpen))
                    {
                        _open.Remove(node);
                        _byNumber.Remove(candidate.Number);
                        close.Add(candidate);
                    }

                    node = before;
                }
            }
        }

        foreach (OpenFork fork in close) Close(fork);
    }

    // Asked last, so that a change at any time since the scan is seen, whatever was read before it.
    private void Close(OpenFork open)
    {
        using (open.Storage)
        {
            PlanFork fork = plan.Forks[open.Number];
            if (fork.Stream >= 2) return;
            bool hasChanged;
            try
            {
                hasChanged = tree.HasChanged(plan.Nodes[fork.Node].Entry!, open.Storage);
            }
            catch (Exception e) when (IsReadProblem(e))
            {
                return; // its reads told what there was to tell
            }

            if (hasChanged)
                TellChanged(
                    open.Number, "It was written to after the scan; the copy may hold the old content in parts and the new in others.");
        }
    }

    private BlockStorage Open(int number)
    {
        ref readonly PlanFork fork = ref plan.Forks[number];
        SourceEntry entry = plan.Nodes[fork.Node].Entry!;
        if (fork.Stream < 2) return tree.OpenFork(entry, fork.Stream == 0 ? ForkKind.Data : ForkKind.Resource);
        ExtendedAttribute attribute = plan.Attributes[fork.Stream - 2].Attribute;
        return attribute.Value is byte[] value ? new MemoryStorage(value) : tree.OpenAttribute(entry, attribute);
    }

    private static string Reason(Exception e) => e is ImageException i ? $"{i.Problem} {i.Remedy}".TrimEnd() : e.Message;

    private void TellChanged(int number, string message)
    {
        int node = plan.Forks[number].Node;
        if (!_told.ContainsKey((node, ImagingWarningKind.ContentLost))) Tell(node, ImagingWarningKind.SourceChanged, message, Changed);
    }

    private void TellLost(int number, string reason)
    {
        PlanFork fork = plan.Forks[number];
        string what =
            fork.Stream switch { 0 =>
                "Content", 1 => "The resource fork", _ => $"The attribute {plan.Attributes[fork.Stream - 2].Attribute.Name}" };
        Tell(fork.Node, ImagingWarningKind.ContentLost,
            $"{what} was lost: {reason} The copy ends where reading ended, and is marked in the image.", Lost);
    }

    private void Tell(int node, ImagingWarningKind kind, string message, ConcurrentQueue<ImagingWarning> list)
    {
        if (!_told.TryAdd((node, kind), true)) return;
        var warning = new ImagingWarning(kind, tree.DisplayPath(plan.Nodes[node].Entry!), message);
        list.Enqueue(warning);
        observer.OnWarning(warning);
    }

    private sealed class OpenFork(int number, BlockStorage storage)
    {
        public int Number => number;

        public BlockStorage Storage => storage;

        public int Users { get; set; }

        public bool Kept { get; set; }

        public bool Finished { get; set; }
    }
}
