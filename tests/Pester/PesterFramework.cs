using Microsoft.Testing.Platform.Extensions.Messages;
using Microsoft.Testing.Platform.Extensions.TestFramework;
using Microsoft.Testing.Platform.Requests;

namespace CCImage.Pester;

/// <summary>
/// Gives the tests of Pester to the testing platform: each file in a PowerShell of its own (the repository's tool), against the built
/// module in ./bin. A file that cannot be run, or reports no test, is a failure.
/// </summary>
internal sealed class PesterFramework : ITestFramework, IDataProducer
{
    /// <inheritdoc/>
    public string Uid => nameof(PesterFramework);

    /// <inheritdoc/>
    public string Version => "1.0.0";

    /// <inheritdoc/>
    public string DisplayName => "Pester";

    /// <inheritdoc/>
    public string Description => "Runs the Pester tests of the cmdlets in PowerShell.";

    /// <inheritdoc/>
    public Type[] DataTypesProduced { get; } = [typeof(TestNodeUpdateMessage), typeof(SessionFileArtifact)];

    /// <inheritdoc/>
    public Task<bool> IsEnabledAsync() => Task.FromResult(true);

    /// <inheritdoc/>
    public Task<CreateTestSessionResult> CreateTestSessionAsync(CreateTestSessionContext context) =>
        Task.FromResult(new CreateTestSessionResult { IsSuccess = true });

    /// <inheritdoc/>
    public Task<CloseTestSessionResult> CloseTestSessionAsync(CloseTestSessionContext context) =>
        Task.FromResult(new CloseTestSessionResult { IsSuccess = true });

    /// <inheritdoc/>
    public async Task ExecuteRequestAsync(ExecuteRequestContext context)
    {
        bool lists = context.Request is DiscoverTestExecutionRequest;
        var all = new List<PesterTest>();
        try
        {
            foreach (string file in Directory.GetFiles(PesterRun.Folder, "*.Tests.ps1").Order(StringComparer.Ordinal))
            {
                IReadOnlyList<PesterTest> tests = await PesterRun.RunAsync(file, lists, context.CancellationToken);
                all.AddRange(tests);
                foreach (PesterTest test in tests)
                {
                    TestNodeStateProperty state = lists ? DiscoveredTestNodeStateProperty.CachedInstance : StateOf(test);
                    await context.MessageBus.PublishAsync(
                        this, new TestNodeUpdateMessage(context.Request.Session.SessionUid, NodeOf(test, state)));
                }
            }

            if (!lists) await context.MessageBus.PublishAsync(
                this, new SessionFileArtifact(context.Request.Session.SessionUid, Report(all), "Pester"));
        }
        finally
        {
            context.Complete();
        }
    }

    // `dotnet test` sums up all suites as one, and names the files that they leave: this one's name says what Pester's share is.
    private static FileInfo Report(List<PesterTest> tests)
    {
        int passed = tests.Count(t => t.Result == "Passed"), skipped = tests.Count(t => t.Result is "Skipped" or "NotRun");
        DirectoryInfo folder = Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, "TestResults"));
        foreach (FileInfo old in folder.GetFiles("Pester*.txt")) old.Delete();
        var file = new FileInfo(
            Path.Combine(folder.FullName, $"Pester, {passed} passed, {tests.Count - passed - skipped} failed, {skipped} skipped.txt"));
        File.WriteAllLines(file.FullName, tests.Select(t => $"{t.Result}\t{t.Name}"));
        return file;
    }

    private static TestNode NodeOf(PesterTest test, TestNodeStateProperty state)
    {
        var properties = new PropertyBag(state);
        if (test.Duration is { } duration)
            properties.Add(new TimingProperty(new TimingInfo(DateTimeOffset.UtcNow - duration, DateTimeOffset.UtcNow, duration)));
        return new() { Uid = test.Name, DisplayName = test.Name, Properties = properties };
    }

    private static TestNodeStateProperty StateOf(PesterTest test) => test.Result switch
    {
        "Passed" => PassedTestNodeStateProperty.CachedInstance,
        "Skipped" or "NotRun" => new SkippedTestNodeStateProperty(test.Message ?? "Skipped without a reason."),
        _ => new FailedTestNodeStateProperty(new PesterException(test.Message ?? test.Result)),
    };
}
