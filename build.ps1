#!/usr/bin/env pwsh
#Requires -Version 7.4
<#
.SYNOPSIS
    The one door to the project's tasks.
.DESCRIPTION
    Build    compiles, and leaves an importable module in place: Import-Module ./CCImage.psd1
    Test     runs every test: xUnit, and Pester in a child process
    Docs     generates en-US (MAML help and about topic) from docs/en-US; needs the module platyPS 0.14
    Coverage runs the library's tests under coverlet and prints how much of it they reach
    Analyze  PSScriptAnalyzer over the manifest and the scripts; needs that module
    Bench    runs the benchmarks beside other programs
    Package  makes artifacts/CCImage-<version>.zip
.EXAMPLE
    ./build.ps1
.EXAMPLE
    ./build.ps1 Build, Test
#>
[CmdletBinding()]
param(
    [Parameter(Position = 0)]
    [ValidateSet('Build', 'Test', 'Coverage', 'Docs', 'Analyze', 'Bench', 'Package')]
    [string[]] $Task = 'Build',

    [ValidateSet('Debug', 'Release')]
    [string] $Configuration = 'Release'
)

$ErrorActionPreference = 'Stop'
$PSNativeCommandUseErrorActionPreference = $true
$manifest = Join-Path $PSScriptRoot 'CCImage.psd1'

function Build {
    dotnet build (Join-Path $PSScriptRoot 'src/CCImage/CCImage.csproj') --configuration $Configuration --nologo --verbosity quiet
    Write-Host "Built. Import it with: Import-Module $manifest"
}

function Test {
    dotnet test --solution (Join-Path $PSScriptRoot 'CCImage.slnx') --configuration $Configuration
}

function Coverage {
    $results = Join-Path $PSScriptRoot 'artifacts/coverage'
    if (Test-Path $results) { Remove-Item $results -Recurse -Force }
    $project = Join-Path $PSScriptRoot 'tests/CCImage.Imaging.Tests'
    dotnet test --project $project --coverlet --coverlet-output-format cobertura --results-directory $results
    Write-Coverage (Get-ChildItem $results -Filter 'coverage.cobertura*.xml' -Recurse | Select-Object -Last 1)
}

function Write-Coverage([IO.FileInfo] $Report) {
    [xml] $coverage = Get-Content $Report
    foreach ($package in @($coverage.coverage) + @($coverage.coverage.packages.package)) {
        $name = $package.name ? $package.name : 'All'
        Write-Host ('{0}: {1:P1} of lines, {2:P1} of branches' -f $name, [double] $package.'line-rate', [double] $package.'branch-rate')
    }
}

function Docs {
    Import-Module platyPS -MinimumVersion 0.14
    $source = Join-Path $PSScriptRoot 'docs/en-US'
    $target = Join-Path $PSScriptRoot 'en-US'
    $null = New-Item $target -ItemType Directory -Force
    $pages = (Get-ChildItem $source -Filter *.md | Where-Object BaseName -notlike about_*).FullName
    $null = New-ExternalHelp -Path $pages -OutputPath $target -Force
    $texts = @{ 'CCImage.dll-Help.xml' = [IO.File]::ReadAllText((Join-Path $target 'CCImage.dll-Help.xml')) }
    foreach ($topic in Get-ChildItem $source -Filter about_*.md) { $texts["$($topic.BaseName).help.txt"] = ConvertTo-Topic $topic }

    # The files are committed: the same bytes on every system.
    foreach ($name in $texts.Keys) {
        [IO.File]::WriteAllText((Join-Path $target $name), $texts[$name].ReplaceLineEndings("`n").TrimEnd() + "`n", [Text.UTF8Encoding]::new($false))
        Write-Host "Generated en-US/$name"
    }
}

# An about topic as Get-Help shows it: headings at the margin, text wrapped and indented. (platyPS joins paragraphs and code.)
function ConvertTo-Topic([IO.FileInfo] $Page) {
    $heads = 0
    $lines = foreach ($line in Get-Content $Page) {
        if ($line -match '^#+ (.+)$') {
            # The first two name the topic.
            if (++$heads -gt 2) { $Matches[1] }
        }
        elseif ($line -match '^(    |$)') { if ($line) { "    $line" } else { '' } }
        else { [regex]::Matches($line, '.{1,74}(?:\s|$)').Value.TrimEnd() -replace '^', '    ' }
    }
    "TOPIC`n    $($Page.BaseName)`n`n" + ($lines -join "`n").Trim()
}

function Analyze {
    Import-Module PSScriptAnalyzer -MinimumVersion 1.24
    $findings = foreach ($item in 'CCImage.psd1', 'build.ps1', 'tests') {
        Invoke-ScriptAnalyzer -Path (Join-Path $PSScriptRoot $item) -Recurse -Settings (Join-Path $PSScriptRoot 'PSScriptAnalyzerSettings.psd1')
    }
    $findings | ForEach-Object { Write-Host "$($_.ScriptName):$($_.Line) $($_.RuleName): $($_.Message)" }
    if ($findings) { throw "PSScriptAnalyzer has $(@($findings).Count) findings." }
}

function Bench {
    dotnet run --project (Join-Path $PSScriptRoot 'tests/Benchmarks') --configuration Release
}

function Package {
    Build
    $version = (Import-PowerShellDataFile $manifest).ModuleVersion
    $artifacts = Join-Path $PSScriptRoot 'artifacts'
    $stage = Join-Path $artifacts 'CCImage'
    if (Test-Path $stage) { Remove-Item $stage -Recurse -Force }
    $null = New-Item $stage -ItemType Directory -Force
    foreach ($item in 'CCImage.psd1', 'LICENSE', 'THIRD-PARTY-NOTICES.md', 'README.md', 'CHANGELOG.md', 'bin', 'en-US') {
        Copy-Item (Join-Path $PSScriptRoot $item) $stage -Recurse
    }
    $null = Test-ModuleManifest (Join-Path $stage 'CCImage.psd1')
    $zip = Join-Path $artifacts "CCImage-$version.zip"
    Remove-Item $zip -ErrorAction Ignore
    [IO.Compression.ZipFile]::CreateFromDirectory($stage, $zip, "Optimal", $true)
    Remove-Item $stage -Recurse -Force
    Write-Host "Packaged $zip"
}

foreach ($name in $Task) { & $name }
