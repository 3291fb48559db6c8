using System.Globalization;
using System.Management.Automation;
using CCImage.Diagnostics;
using CCImage.Internal;

namespace CCImage.Pipeline;

/// <summary>Says progress the way the host shows it.</summary>
internal static class ProgressFormat
{
    /// <summary>A progress record for how far a job is.</summary>
    /// <param name="activityId">Tells the bars of one host apart.</param>
    /// <param name="progress">How far.</param>
    public static ProgressRecord ToRecord(int activityId, ImagingProgress progress)
    {
        string Amount(long units) =>
            progress.Unit == "bytes" ? FormatView.Size(units) : string.Create(CultureInfo.CurrentCulture, $"{units:N0} {progress.Unit}");

        bool known = progress.Total > 0;
        return new ProgressRecord(
            activityId,
            string.IsNullOrEmpty(progress.Activity) ? "Working" : progress.Activity,
            known ? $"{Amount(progress.Completed)} of {Amount(progress.Total)}" : Amount(progress.Completed))
        {
            PercentComplete = known ? (int)Math.Clamp((double)progress.Completed / progress.Total * 100, 0, 100) : -1,
        };
    }
}
