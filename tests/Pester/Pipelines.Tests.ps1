BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'pipelines'
    New-SourceTree (Join-Path $folder 'source')
    $first = (New-BackupImage (Join-Path $folder 'source') (Join-Path $folder 'a.sparseimage') -SizeBytes 40MB).Path
    $second = (New-BackupImage (Join-Path $folder 'source') (Join-Path $folder 'b.sparseimage') -SizeBytes 40MB).Path
    $missing = Join-Path $folder 'missing.sparseimage'
}

Describe 'A pipeline' {
    It 'takes files, images and results, live and from a job, into every cmdlet' {
        $files = Get-ChildItem $folder -Filter *.sparseimage
        $live = $files | Get-BackupImage
        foreach ($objects in $files, $live, ($live | ConvertTo-Deserialised), ($files | ConvertTo-Deserialised), $files.FullName) {
            ($objects | Get-BackupImage).Path | Should -Be $first, $second
            $objects | Test-BackupImage | Should -Be $true, $true
            ($objects | Get-BackupImageItem -Include report.txt).Count | Should -Be 2
            ($objects | Compress-BackupImage -WhatIf).Path | Should -Be $first, $second
            ($objects | Resize-BackupImage -SizeBytes 60MB -WhatIf).Path | Should -Be $first, $second
            $objects | ConvertTo-ReadOnlyImage -WhatIf
            $objects | Restore-BackupImage -DestinationPath (Join-Path $folder 'out') -WhatIf
        }
    }

    It 'goes on from one cmdlet to the next, results of a job included' {
        $results = Get-ChildItem $folder -Filter *.sparseimage | Get-BackupImage | Compress-BackupImage -PassThru | ConvertTo-Deserialised | Test-BackupImage
        $results | Should -Be $true, $true
    }

    It 'gives each image its turn, whatever happened to the one before' {
        $problems = @()
        $found = $missing, $first, $missing, $second | Get-BackupImage -ErrorAction SilentlyContinue -ErrorVariable problems
        $found.Path | Should -Be $first, $second
        @($problems).Count | Should -Be 2
    }

    It 'ends where nobody wants more, before the next image is touched: <Name>' -ForEach @(
        @{ Name = 'Get-BackupImage'; Command = { $first, $missing | Get-BackupImage | Select-Object -First 1 } }
        @{ Name = 'Get-BackupImage, by parameter'; Command = { Get-BackupImage $first, $missing | Select-Object -First 1 } }
        @{ Name = 'Get-BackupImageItem'; Command = { Get-BackupImageItem $first, $missing | Select-Object -First 1 } }
        @{ Name = 'Test-BackupImage'; Command = { Test-BackupImage $first, $missing -Detailed | Select-Object -First 1 } }
        @{ Name = 'Compress-BackupImage'; Command = { Compress-BackupImage $first, $missing | Select-Object -First 1 } }
    ) {
        $Error.Clear()
        @(& $Command -ErrorAction Stop) | Should -HaveCount 1
        $Error.Count | Should -Be 0
    }

    It 'ends at the first error where that is asked for' {
        $seen = [Collections.Generic.List[object]]::new()
        { $missing, $first | Get-BackupImage -ErrorAction Stop | ForEach-Object { $seen.Add($_) } } | Should -Throw -ErrorId 'ImageNotFound,*'
        $seen | Should -BeNullOrEmpty
    }

    It 'stops within a second, and leaves nothing: <Name>' -ForEach @(
        @{ Name = 'New-BackupImage'; Script = { "New-BackupImage '$large' '$target' -Format ReadOnlyBzip2" } }
        @{ Name = 'ConvertTo-ReadOnlyImage'; Script = { "ConvertTo-ReadOnlyImage '$disk' '$target' -Format ReadOnlyBzip2" } }
    ) {
        $large = Join-Path $folder 'large'
        $disk = Join-Path $folder 'large.sparseimage'
        $target = Join-Path $folder 'stopped.dmg'
        $null = New-Item $large -ItemType Directory -Force
        $noise = [byte[]]::new(100MB)
        [Random]::new(1).NextBytes($noise)
        [IO.File]::WriteAllBytes((Join-Path $large 'noise'), $noise)
        $null = New-BackupImage $large $disk -SizeBytes 200MB -Force
        $shell = [powershell]::Create().AddScript("Import-Module '$ManifestPath'; $(& $Script)")
        try {
            $null = $shell.BeginInvoke()
            $waited = [Diagnostics.Stopwatch]::StartNew()
            while (-not (Get-ChildItem $folder -Filter '*stopped*' -Force) -and $waited.Elapsed.TotalSeconds -lt 30) { Start-Sleep -Milliseconds 20 }
            Get-ChildItem $folder -Filter '*stopped*' -Force | Should -Not -BeNullOrEmpty -Because 'it is being written'
            $watch = [Diagnostics.Stopwatch]::StartNew()
            $shell.Stop()
            $watch.Elapsed.TotalSeconds | Should -BeLessThan 5 -Because 'it takes less than a second where nothing else runs'
            $shell.InvocationStateInfo.State | Should -Be 'Stopped'
        }
        finally { $shell.Dispose() }
        Get-ChildItem $folder -Filter '*stopped*' -Force | Should -BeNullOrEmpty
    }
}
