BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
    $disk = (New-BackupImage $source (Join-Path $TestDrive 'd.dmg')).Path
}

Describe 'Restore-BackupImage' {
    It 'restores every file with its content, and says what it did' {
        $target = Join-Path $TestDrive 'all'
        $result = Restore-BackupImage $disk $target
        $result | Should -BeOfType CCImage.ImageRestoreResult
        $result.Path | Should -Be $disk
        $result.DestinationPath | Should -Be $target
        $result.Entries | Should -Be @(Get-ChildItem $source -Recurse -Force).Count
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'restores modes, dates and links' -Skip:$IsWindows {
        $target = Join-Path $TestDrive 'meta'
        $null = Restore-BackupImage $disk $target
        (Get-Item (Join-Path $target 'report.txt')).UnixMode | Should -Be '-rwxr-x--x'
        (Get-Item (Join-Path $target 'link')).LinkTarget | Should -Be 'notes/draft.tmp'
        $difference = (Get-Item (Join-Path $target 'report.txt')).LastWriteTimeUtc - (Get-Item (Join-Path $source 'report.txt')).LastWriteTimeUtc
        [Math]::Abs($difference.TotalSeconds) | Should -BeLessThan 1
    }

    It 'restores what is chosen' {
        $target = Join-Path $TestDrive 'some'
        $null = Restore-BackupImage $disk $target -Include *.tmp
        (Get-ChildItem $target -Recurse -File).Name | Should -Be 'draft.tmp'
    }

    It 'does not replace files unless forced' {
        $target = Join-Path $TestDrive 'twice'
        $null = Restore-BackupImage $disk $target
        Set-Content (Join-Path $target 'report.txt') 'changed'
        { Restore-BackupImage $disk $target -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationExists,*'
        Get-Content (Join-Path $target 'report.txt') | Should -Be 'changed'
        $null = Restore-BackupImage $disk $target -Force
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'writes nothing with -WhatIf' {
        $null = Restore-BackupImage $disk (Join-Path $TestDrive 'none') -WhatIf
        Test-Path (Join-Path $TestDrive 'none') | Should -BeFalse
    }

    It 'says ImageNotFound for a file that is not there' {
        { Restore-BackupImage (Join-Path $TestDrive 'nosuch.dmg') (Join-Path $TestDrive 'x') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotFound,*'
    }

    It 'says VolumeNotFound for a volume that is not there' {
        { Restore-BackupImage $disk (Join-Path $TestDrive 'x') -Volume 7 -ErrorAction Stop } | Should -Throw -ErrorId 'VolumeNotFound,*'
    }

    It 'counts what it did' {
        $result = Restore-BackupImage $disk (Join-Path $TestDrive 'counted') -Include *.tmp
        $result.Restored | Should -Be $result.Entries
        $result.Failed, $result.Skipped | Should -Be 0, 0
        $result.Excluded | Should -Be (@(Get-BackupImageItem $disk).Count - $result.Restored)
    }

    It 'leaves files alone that exist, restores the others, and says so in one error' {
        $target = Join-Path $TestDrive 'kept'
        $null = New-Item $target -ItemType Directory
        Set-Content (Join-Path $target 'report.txt') 'mine'
        $result = Restore-BackupImage $disk $target -ErrorAction SilentlyContinue -ErrorVariable problems -WarningVariable told 3> $null
        @($problems).Count | Should -Be 1
        $problems[0].FullyQualifiedErrorId | Should -BeLike 'DestinationExists,*'
        $result.Skipped | Should -Be 1
        "$told" | Should -Match 'report.txt'
        Get-Content (Join-Path $target 'report.txt') | Should -Be 'mine'
        Test-Path (Join-Path $target 'noise.bin') | Should -BeTrue
    }

    It 'says RestoredInPart for an entry that cannot be made, after the result, and restores the rest' {
        $target = Join-Path $TestDrive 'part'
        $null = New-Item (Join-Path $target 'report.txt') -ItemType Directory -Force
        $result = Restore-BackupImage $disk $target -Force -ErrorAction SilentlyContinue -ErrorVariable problems 3> $null
        $problems[0].FullyQualifiedErrorId | Should -BeLike 'RestoredInPart,*'
        $problems[0].CategoryInfo.Category | Should -Be 'WriteError'
        $result.Failed | Should -Be 1
        (Get-FileHash (Join-Path $target 'noise.bin')).Hash | Should -Be (Get-FileHash (Join-Path $source 'noise.bin')).Hash
        { Restore-BackupImage $disk $target -Force -ErrorAction Stop 3> $null } | Should -Throw -ErrorId 'RestoredInPart,*'
    }

    It 'ends a process with an exit code when the result is not whole' {
        $target = Join-Path $TestDrive 'process'
        $null = New-Item (Join-Path $target 'report.txt') -ItemType Directory -Force
        $null = Invoke-PowerShell "Import-Module '$ManifestPath'; Restore-BackupImage '$disk' '$target' -Force" 2>&1
        $LASTEXITCODE | Should -Be 1
    }

    It 'takes items from the pipeline as they are, in one job for each image' -Skip:$IsWindows {
        $odd = Join-Path $TestDrive 'Odd'
        $null = New-Item (Join-Path $odd 'a[1]') -ItemType Directory -Force
        [IO.File]::WriteAllText((Join-Path $odd 'a[1]/x*'), 'star')
        [IO.File]::WriteAllText((Join-Path $odd 'a[1]/xy'), 'no star')
        $oddDisk = (New-BackupImage $odd (Join-Path $TestDrive 'odd.dmg')).Path
        $target = Join-Path $TestDrive 'items'
        $results = Get-BackupImageItem $oddDisk, $disk | Where-Object { $_.Name -in 'x*', 'report.txt' } | ConvertTo-Deserialised | Restore-BackupImage -DestinationPath $target
        @($results).Count | Should -Be 2
        (Get-ChildItem $target -Recurse -File).Name | Sort-Object | Should -Be 'report.txt', 'x*'
    }

    It 'warns when a folder was chosen without what lies in it' {
        $null = Get-BackupImageItem $disk | Where-Object Name -eq 'notes' | Restore-BackupImage -DestinationPath (Join-Path $TestDrive 'alone') -WarningVariable told 3> $null
        "$told" | Should -Match '-Include takes a folder with all in it'
    }

    It 'keeps set-user bits out with -Untrusted' -Skip:$IsWindows {
        $tools = Join-Path $TestDrive 'Tools'
        $null = New-Item $tools -ItemType Directory
        Set-Content (Join-Path $tools 'tool') 'x'
        & chmod 4755 (Join-Path $tools 'tool')
        $toolDisk = (New-BackupImage $tools (Join-Path $TestDrive 'tools.dmg')).Path
        $null = Restore-BackupImage $toolDisk (Join-Path $TestDrive 'safe') -Untrusted
        (Get-Item (Join-Path $TestDrive 'safe/tool')).UnixMode | Should -Be '-rwxr-xr-x'
        $null = Restore-BackupImage $toolDisk (Join-Path $TestDrive 'trusted') -Ownership Keep
        (Get-Item (Join-Path $TestDrive 'trusted/tool')).UnixMode | Should -Be '-rwsr-xr-x'
    }

    It 'shows no control character of a name' -Skip:$IsWindows {
        $odd = Join-Path $TestDrive 'Terminal'
        $null = New-Item $odd -ItemType Directory
        $name = "`e[8mhidden`u{202e}"
        [IO.File]::WriteAllText((Join-Path $odd $name), 'x')
        $oddDisk = (New-BackupImage $odd (Join-Path $TestDrive 'terminal.dmg')).Path
        $target = Join-Path $TestDrive 'shown'
        $null = Restore-BackupImage $oddDisk $target
        $null = Restore-BackupImage $oddDisk $target -ErrorAction SilentlyContinue -ErrorVariable problems -WarningVariable told 3> $null
        $rendering = $PSStyle.OutputRendering
        try {
            $PSStyle.OutputRendering = 'PlainText'
            $shown = (Get-BackupImageItem $oddDisk | Out-String) + (Get-BackupImageItem $oddDisk | Format-List | Out-String) + "$told" + ($problems | Out-String)
        }
        finally { $PSStyle.OutputRendering = $rendering }
        $shown | Should -Not -Match "[`e`u{202e}]"
        $shown | Should -Match ([regex]::Escape('\u001B[8mhidden\u202E'))
        (Get-BackupImageItem $oddDisk).Name | Should -BeExactly $name
    }

    It 'restores from an image that does not fit its checksums, and ends with an error' {
        $damaged = Join-Path $TestDrive 'damaged.dmg'
        $null = ConvertTo-ReadOnlyImage $disk $damaged -Format ReadOnly
        $bytes = [IO.File]::ReadAllBytes($damaged)
        $bytes[[int]($bytes.Length / 2)] = $bytes[[int]($bytes.Length / 2)] -bxor 4
        [IO.File]::WriteAllBytes($damaged, $bytes)
        $result = Restore-BackupImage $damaged (Join-Path $TestDrive 'doubtful') -ErrorVariable errors -ErrorAction SilentlyContinue
        $result.Entries | Should -BeGreaterThan 0
        $errors[0].FullyQualifiedErrorId | Should -BeLike 'ChecksumMismatch,*'
    }
}
