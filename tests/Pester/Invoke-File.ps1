# Runs the Pester tests of one file and writes a line of JSON for each of them; see PesterRun.cs.
param(
    [Parameter(Mandatory)] [string] $File,
    [Parameter(Mandatory)] [string] $PesterFolder,
    [Parameter(Mandatory)] [string] $Mark,
    [switch] $List
)

$ErrorActionPreference = 'Stop'
$PSStyle.OutputRendering = 'PlainText'
Import-Module (Join-Path $PesterFolder 'Pester.psd1')

$configuration = New-PesterConfiguration
$configuration.Run.Path = $File
$configuration.Run.PassThru = $true
$configuration.Run.SkipRun = [bool] $List
$configuration.Output.Verbosity = 'None'
if (-not $IsMacOS) { $configuration.Filter.ExcludeTag = 'MacOS' }
$result = Invoke-Pester -Configuration $configuration

function Write-Test([string] $Name, [string] $Result, [string] $Message, [Nullable[double]] $Milliseconds) {
    $Mark + ([ordered] @{ Name = $Name; Result = $Result; Message = $Message ? $Message : $null; Milliseconds = $Milliseconds } | ConvertTo-Json -Compress)
}

$name = [IO.Path]::GetFileName($File) -replace '\.Tests\.ps1$'
foreach ($test in $result.Tests) {
    $message = ($test.ErrorRecord | ForEach-Object { "$_`n$($_.ScriptStackTrace)" }) -join "`n"
    if ($test.Result -eq 'Skipped') { $message = ($message -split "`n")[0] -replace '^is skipped, because ' ; if (-not $message) { $message = 'Not on this system.' } }
    if ($test.Result -eq 'NotRun') { $message = 'macOS only.' }
    # What was not run has its data, but no name made with them.
    $path = $test.Result -eq 'NotRun' -and $test.Data ? "$($test.ExpandedPath) ($(($test.Data.GetEnumerator() | ForEach-Object { "$($_.Key) $($_.Value)" }) -join ', '))" : $test.ExpandedPath
    Write-Test ("$name`: $path" -replace '\s+', ' ') $test.Result $message $test.Duration.TotalMilliseconds
}

# What goes wrong outside of tests is no test's failure, and must not be lost.
foreach ($broken in @($result.FailedContainers) + @($result.FailedBlocks)) {
    if ($broken) { Write-Test "$name`: outside of tests" 'Failed' (($broken.ErrorRecord | ForEach-Object { "$_`n$($_.ScriptStackTrace)" }) -join "`n") $null }
}

exit ($result.FailedCount + $result.FailedContainersCount + $result.FailedBlocksCount -gt 0 ? 1 : 0)
