using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Language;

namespace CCImage.Parameters;

/// <summary>
/// Turns names of <see cref="BackupImageFormat"/>, its values and hdiutil's codes into the one spelling. The parameter is a string: for an
/// enumeration PowerShell would never ask the completer.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class ImageFormatAttribute : ArgumentTransformationAttribute
{
    /// <inheritdoc/>
    public override object? Transform(EngineIntrinsics engineIntrinsics, object inputData)
    {
        object? value = inputData is PSObject wrapped ? wrapped.BaseObject : inputData;
        if (value is null) return null;
        if (ImageFormats.Find(value.ToString() ?? "") is { } found) return found.Format.ToString();
        throw new ArgumentTransformationMetadataException(
            $"\"{value}\" is not a format of disk image. The formats are " +
            string.Join(", ", ImageFormats.All.Select(name => $"{name.Format} ({name.Code})")) + ".");
    }
}

/// <summary>Completes what <see cref="ImageFormatAttribute"/> takes.</summary>
public abstract class ImageFormatCompleterBase : IArgumentCompleter
{
    /// <inheritdoc/>
    public IEnumerable<CompletionResult> CompleteArgument(
        string commandName, string parameterName, string wordToComplete, CommandAst commandAst, IDictionary fakeBoundParameters)
    {
        string word = (wordToComplete ?? "").Trim('\'', '"');
        foreach (ImageFormatName name in ImageFormats.All.Where(IsOffered))
        {
            string text = name.Format.ToString();
            string tip = $"{name.Code}: {name.Description}";
            if (text.StartsWith(word, StringComparison.OrdinalIgnoreCase))
                yield return new CompletionResult(text, text, CompletionResultType.ParameterValue, tip);
            else if (name.Code.StartsWith(word, StringComparison.OrdinalIgnoreCase))
                yield return new CompletionResult(name.Code, name.Code, CompletionResultType.ParameterValue, $"{text}: {name.Description}");
        }
    }

    private protected abstract bool IsOffered(ImageFormatName name);
}

/// <summary>Completes all formats.</summary>
public sealed class ImageFormatCompleter : ImageFormatCompleterBase
{
    private protected override bool IsOffered(ImageFormatName name) => true;
}

/// <summary>Completes the formats that can only be read.</summary>
public sealed class ReadOnlyImageFormatCompleter : ImageFormatCompleterBase
{
    private protected override bool IsOffered(ImageFormatName name) => name.IsReadOnly;
}
