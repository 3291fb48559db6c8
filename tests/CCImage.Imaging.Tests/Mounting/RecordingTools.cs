using System.Text;
using CCImage.Platform;

namespace CCImage.Tests.Mounting;

/// <summary>Stands in for macOS' programs: notes what is run, and answers what it was told.</summary>
internal sealed class RecordingTools : ISystemTools
{
    public delegate ToolResult? Answer(string[] arguments);

    private readonly Dictionary<string, Answer> _answers = [];

    /// <summary>Each call: program, arguments, and what went to its standard input.</summary>
    public List<(string Program, string[] Arguments, byte[] Input)> Calls { get; } = [];

    /// <summary>Answers all calls that begin so.</summary>
    public RecordingTools On(string begin, Answer answer)
    {
        _answers[begin] = answer;
        return this;
    }

    public RecordingTools On(string begin, string output, int exitCode = 0, string error = "") =>
        On(begin, _ => new(exitCode, Encoding.UTF8.GetBytes(output), error));

    public int MacVersion { get; init; } = 27;

    /// <summary>How often something waited.</summary>
    public int Waits { get; private set; }

    public void Wait(TimeSpan duration, CancellationToken cancellation) => Waits++;

    public ToolResult? Run(string program, IReadOnlyList<string> arguments, ReadOnlySpan<byte> input, CancellationToken cancellation)
    {
        Calls.Add((program, [.. arguments], input.ToArray()));
        string line = $"{Path.GetFileName(program)} {string.Join(' ', arguments)}";
        foreach ((string begin, Answer answer) in _answers.OrderByDescending(a => a.Key.Length))
        {
            if (line.StartsWith(begin, StringComparison.Ordinal)) return answer([.. arguments]);
        }

        return null;
    }
}
