BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
    $disk = (New-BackupImage $source (Join-Path $TestDrive 'd.dmg')).Path
}

Describe 'Get-BackupImageItem' {
    It 'lists every entry of the source' {
        $expected = Get-ChildItem $source -Recurse -Force | ForEach-Object { '/' + [IO.Path]::GetRelativePath($source, $_.FullName).Replace('\', '/').Normalize('FormC') } | Sort-Object -CaseSensitive
        (Get-BackupImageItem $disk).ItemPath.Normalize('FormC') | Sort-Object -CaseSensitive | Should -Be $expected
    }

    It 'tells size, kind, mode and dates' {
        $item = Get-BackupImageItem $disk -Include report.txt
        $file = Get-Item (Join-Path $source 'report.txt')
        $item.ImagePath | Should -Be $disk
        $item.Kind | Should -Be 'File'
        $item.SizeBytes | Should -Be $file.Length
        $item.ModifyTime.ToUnixTimeSeconds() | Should -Be ([DateTimeOffset]$file.LastWriteTimeUtc).ToUnixTimeSeconds()
        if (-not $IsWindows) { $item.Mode | Should -Be '-rwxr-x--x' }
    }

    It 'tells where links point' -Skip:$IsWindows { (Get-BackupImageItem $disk -Include link).LinkTarget | Should -Be 'notes/draft.tmp' }

    It 'filters by names and by paths' {
        (Get-BackupImageItem $disk -Include *.tmp).ItemPath | Should -Be '/notes/draft.tmp'
        @(Get-BackupImageItem $disk -Include notes/*).Count | Should -Be 2
        (Get-BackupImageItem $disk -Include /cache/index, empty).Name | Sort-Object | Should -Be 'empty', 'index'
        (Get-BackupImageItem $disk -Include notes/).ItemPath | Should -Contain '/notes/draft.tmp' -Because 'a folder is taken with what is in it'
        Get-BackupImageItem $disk -Include nosuch | Should -BeNullOrEmpty
    }

    It 'lists what is without fault, and warns of an entry whose record is damaged' {
        $damaged = New-DamagedImage $source (Join-Path $TestDrive 'damaged.dmg') 'report.txt'
        $items = Get-BackupImageItem $damaged -WarningVariable told -WarningAction SilentlyContinue
        @($items).Count | Should -Be (@(Get-BackupImageItem $disk).Count - 1)
        $items.ItemPath | Should -Not -Contain '/report.txt'
        $told | Should -HaveCount 1
        "$told" | Should -BeLike '*damaged.dmg: /report.txt: It was left out: *'
    }

    It 'names what it does not read' {
        $disc = Join-Path $TestDrive 'disc.dmg'
        $bytes = [byte[]]::new(64KB)
        $bytes[32768] = 1
        [Text.Encoding]::ASCII.GetBytes('CD001').CopyTo($bytes, 32769)
        [IO.File]::WriteAllBytes($disc, $bytes)
        (Get-BackupImage $disc).Volumes.Kind | Should -Be 'Iso9660'
        { Get-BackupImageItem $disc -ErrorAction Stop } | Should -Throw '*ISO 9660*' -ErrorId 'UnsupportedFormat,*'
    }

    It 'says VolumeNotFound for a volume that is not there' { { Get-BackupImageItem $disk -Volume 9 -ErrorAction Stop } | Should -Throw -ErrorId 'VolumeNotFound,*' }

    It 'says ImageNotFound for a file that is not there' {
        { Get-BackupImageItem (Join-Path $TestDrive 'nosuch.dmg') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotFound,*'
    }

    It 'stops when a command further down has enough' { (Get-BackupImageItem $disk | Select-Object -First 2) | Should -HaveCount 2 }
}
